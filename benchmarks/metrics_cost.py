"""CPU time of metrics: of counting one request, and of sampling activations beside plain runs of a model.

    python -m benchmarks.metrics_cost [--rounds 11] [--json]

It prints medians over rounds, in microseconds of CPU time, so that other programs on the machine don't count. Sampled
and plain runs take turns. After a sampled run the server waits until sampling took `SHARE` of the time; the share of
time that sampling adds follows from the two measured values.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np

from benchmarks.harness.machine import machine, machine_line
from benchmarks.harness.rounds import with_progress
from benchmarks.harness.summary import Summary
from vitrine.server.bundled import bundled_model
from vitrine.server.engine.device import Device
from vitrine.server.engine.loading import load_artifact
from vitrine.server.inference.call import Call, Outcome, Stage
from vitrine.server.models.snapshot import ServedModel
from vitrine.server.telemetry.activation_health import SHARE, ActivationHealth
from vitrine.server.telemetry.metrics import Metrics
from vitrine.server.telemetry.metrics_config import MetricsConfig

METHOD = "/vitrine.v1.ClassifierService/Classify"
PARTS = ("one process", "several workers", "runs")
CALLS = 5000
"""Calls counted in each round."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One measured value."""

    name: str
    unit: str
    summary: Summary


@click.command()
@click.option("--rounds", default=11, show_default=True, help="Measurements of each value.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@click.option("--part", type=click.Choice(PARTS), hidden=True, help="Measure this part in this process.")
def main(rounds: int, as_json: bool, part: str | None) -> None:
    """Measure the CPU time of metrics, and print it."""
    if part is not None:
        click.echo(json.dumps([asdict(cost) for cost in costs_of(part, rounds)]))
        return
    costs = [cost for part in with_progress(PARTS) for cost in measure(part, rounds)]
    if as_json:
        click.echo(json.dumps({"machine": machine("prometheus-client"), "costs": [asdict(cost) for cost in costs]}))
        return
    click.echo(machine_line("prometheus-client"))
    for cost in costs:
        click.echo(f"{cost.name:<48} {cost.summary.text(2)} {cost.unit}")


def measure(part: str, rounds: int) -> list[Cost]:
    """Measures a part in its own process: the place of counts is a setting of a whole process."""
    command = [sys.executable, "-m", "benchmarks.metrics_cost", "--part", part, "--rounds", str(rounds)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return [Cost(cost["name"], cost["unit"], Summary(**cost["summary"])) for cost in json.loads(output)]


def costs_of(part: str, rounds: int) -> list[Cost]:
    """Values of a part, measured in this process."""
    if part == "one process":
        return [counting(part, None, rounds)]
    if part == "several workers":
        with tempfile.TemporaryDirectory() as folder:
            return [counting(part, Path(folder), rounds)]
    model = load_artifact(bundled_model(), Device.CPU)
    return [cost for images in (1, 16, 256) for cost in sampling(model, images, rounds)]


def counting(part: str, folder: Path | None, rounds: int) -> Cost:
    """Cost of counting a request, in memory or in the files that workers share."""
    metrics = Metrics([METHOD], MetricsConfig(port=0, folder=folder))
    costs = [cpu_microseconds(partial(metrics.observe_call, finished_call()), CALLS) for _ in range(rounds)]
    return Cost(f"counting a request, {part}", "µs", Summary.of(costs))


def sampling(model: ServedModel, images: int, rounds: int) -> Sequence[Cost]:
    """Costs of a plain and a sampled run, and the share of time that sampling adds."""
    pixels = np.random.default_rng(0).integers(0, 256, (images, 18, 18), np.uint8)
    health = ActivationHealth(model.metadata.layers)
    every = [layer.name for layer in model.metadata.layers]

    def sampled_run() -> None:
        health.take(model.engine.run(pixels, every), time.monotonic())

    plain_run = partial(model.engine.run, pixels, every[-1:])
    times = max(100, 40_000 // images)
    pairs = [(cpu_microseconds(plain_run, times), cpu_microseconds(sampled_run, times)) for _ in range(rounds)]
    added = [SHARE * (1 - plain / sampled) * 100 for plain, sampled in pairs]
    return (
        Cost(f"plain run of {images} images", "µs", Summary.of([plain for plain, _ in pairs])),
        Cost(f"sampled run of {images} images", "µs", Summary.of([sampled for _, sampled in pairs])),
        Cost(f"time added by sampling runs of {images} images", "%", Summary.of(added)),
    )


def cpu_microseconds(work: Callable[[], object], times: int) -> float:
    """Mean CPU time of one repetition."""
    begin = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - begin) / times * 1e6


def finished_call() -> Call:
    """A `Classify` call as it is at its end."""
    now = time.monotonic()
    seconds = {Stage.QUEUE: 2e-4, Stage.BATCH: 1e-5, Stage.COMPUTE: 1e-4, Stage.ENCODE: 3e-5}
    call = Call(METHOD, model="digits@1", images=1, no_digits=0, outcome=Outcome.OK)
    for stage, took in seconds.items():
        call.passed(stage, now - took, now)
    call.passed(Stage.ENCODE, now, now + 1e-5)
    return call


if __name__ == "__main__":
    main()
