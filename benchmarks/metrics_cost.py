"""What metrics cost: the CPU time of counting a request, and what looking at the activations adds to running a model.

    python benchmarks/metrics_cost.py

CPU time is measured, not time that passes, so that other processes on the machine don't count. Sampled and other
runs of the model are taken in turns.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from vitrine.server.bundled import bundled_model
from vitrine.server.engine.device import Device
from vitrine.server.engine.loading import load_model
from vitrine.server.inference.call import Call, Outcome, Stage
from vitrine.server.models.snapshot import ServedModel
from vitrine.server.telemetry.activation_health import SHARE, ActivationHealth
from vitrine.server.telemetry.metrics import Metrics, MetricsConfig

METHOD = "/vitrine.v1.ClassifierService/Classify"


def a_call() -> Call:
    """A request to classify as it is when it is over."""
    now = time.monotonic()
    seconds = {Stage.QUEUE: 2e-4, Stage.BATCH: 1e-5, Stage.COMPUTE: 1e-4, Stage.ENCODE: 3e-5}
    call = Call(METHOD, model="digits@1", images=1, no_digits=0, outcome=Outcome.OK)
    for stage, took in seconds.items():
        call.passed(stage, now - took, now)
    call.passed(Stage.ENCODE, now, now + 1e-5)
    return call


def microseconds(work: Callable[[], object], times: int) -> float:
    """The CPU time of doing something once."""
    begin = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - begin) / times * 1e6


def spread(values: list[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def count_calls(folder: Path | None, rounds: int) -> None:
    """Prints what counting a call costs, in this process or through files."""
    metrics = Metrics([METHOD], MetricsConfig(port=0, folder=folder))
    costs = [microseconds(partial(metrics.observe_call, a_call()), 5000) for _ in range(rounds)]
    where = "of one process" if folder is None else "of several workers"
    print(f"counting a request, {where}: {spread(costs)} µs of CPU time")


def watch_runs(model: ServedModel, rows: int, rounds: int) -> None:
    """Prints what a sampled run costs beside any other, and what that makes of the time when runs follow each other.

    After a sampled run as long is waited as makes it `SHARE` of the time, so that the rest is arithmetic.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (rows, 18, 18), np.uint8)
    health = ActivationHealth(model.metadata.layers)
    every = [layer.name for layer in model.metadata.layers]

    def sampled() -> None:
        health.take(model.engine.run(pixels, every), time.monotonic())

    plain = partial(model.engine.run, pixels, every[-1:])
    times = max(100, 40_000 // rows)
    costs = [(microseconds(plain, times), microseconds(sampled, times)) for _ in range(rounds)]
    added = [SHARE * (1 - least / most) * 100 for least, most in costs]
    print(f"a run of {rows} images: {spread([cost for cost, _ in costs])} µs of CPU time,", end=" ")
    print(f"sampled {spread([cost for _, cost in costs])} µs: {spread(added)} % of the time is added")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11, help="how many times each is measured")
    parser.add_argument("--part", choices=["one", "several", "runs"], help="only this part, in this process")
    arguments = parser.parse_args()
    if arguments.part is None:  # where counts lie is a setting of the whole process
        print(
            f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
        )
        print(f"median (least to most) of {arguments.rounds}")
        for part in ("one", "several", "runs"):
            again = [sys.executable, __file__, "--part", part, "--rounds", str(arguments.rounds)]
            subprocess.run(again, check=True)
    elif arguments.part == "one":
        count_calls(None, arguments.rounds)
    elif arguments.part == "several":
        with tempfile.TemporaryDirectory() as folder:
            count_calls(Path(folder), arguments.rounds)
    else:
        for rows in (1, 16, 256):
            watch_runs(load_model(bundled_model(), Device.CPU), rows, arguments.rounds)


if __name__ == "__main__":
    main()
