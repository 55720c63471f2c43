"""Requests per second, latency and the server's CPU time per request; alone or beside another server, in turns.

    python -m benchmarks.throughput
    python -m benchmarks.throughput --versus ../before/.venv/bin/vitrine-server --model old-format.onnx --rounds 8

Closed loop: `--callers` callers send raw messages from this process, each the next as soon as it has its answer. There
is one load for each number of `--images` in a request and each kind of `--activations` in its answer. Both servers
serve the same artifact, and answer the same client in turns: machines differ from minute to minute, ratios hardly do.

It prints the median, the range and the number of rounds of each value. With `--versus` it also prints ratios, this
server's value divided by the other's in the same round: requests/s should be 1 or more, CPU time 1 or less. Where other
programs are at work too, CPU time says more than requests/s. Latencies hold the waiting of all callers for one server.
"""

import asyncio
import itertools
import json
import os
import shlex
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import click
import grpc
import grpc.aio
import numpy as np

from benchmarks.harness.artifacts import export_random
from benchmarks.harness.machine import machine, machine_line
from benchmarks.harness.rounds import in_turns
from benchmarks.harness.servers import OWN_CONNECTION, VITRINE_SERVER, Server, running
from benchmarks.harness.summary import Summary
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

CALLERS_PER_CHANNEL = 16
BUNDLED = "bundled"
ACTIVATIONS = ("none", "hidden", "all")
UNITS = {"requests_per_second": 0, "cpu_us_per_request": 1, "p50_ms": 2, "p99_ms": 2}
"""Measured values, with the decimal places that are printed."""
RATIOS = ("requests_per_second", "cpu_us_per_request")


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of request."""

    images: int
    """Images in each request."""
    activations: str
    """Layers in the answer beside the output layer: `none`, `hidden` (every ReLU layer) or `all`."""

    def __str__(self) -> str:
        return f"{self.images} {'image' if self.images == 1 else 'images'}, activations: {self.activations}"


@dataclass(frozen=True, slots=True)
class Measurement:
    """Values of one load on one server in one round."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us_per_request: float
    """CPU time of the server's processes, in microseconds."""


Rounds: TypeAlias = dict[Load, dict[str, list[Measurement]]]
"""Measurements by load and by server's name, one for each round."""


@click.command()
@click.option(
    "--server",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=VITRINE_SERVER,
    help="Server under test: a vitrine-server executable.  [default: this environment's]",
)
@click.option(
    "--versus",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Server to compare with, for instance another checkout's .venv/bin/vitrine-server.",
)
@click.option(
    "--model", help="Artifact that is served; `bundled`: each server's own.  [default: one of random weights]"
)
@click.option("--hidden", default="512,256", show_default=True, help="Hidden layers of the random weights.")
@click.option("--novelty/--no-novelty", default=False, show_default=True, help="Give the random model a threshold.")
@click.option("--images", multiple=True, default=(1, 64), show_default=True, help="Images in a request; repeatable.")
@click.option(
    "--activations",
    multiple=True,
    type=click.Choice(ACTIVATIONS),
    default=("none", "hidden"),
    show_default=True,
    help="Layers in an answer; repeatable.",
)
@click.option("--callers", default=64, show_default=True, help="Requests in flight.")
@click.option("--seconds", default=4.0, show_default=True, help="Seconds of each measurement, after a shorter warm-up.")
@click.option("--rounds", default=3, show_default=True, help="Measurements of each load on each server.")
@click.option("--settings", default="", help="Further arguments of the servers, as in a shell.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with every measurement.")
def main(
    server: Path,
    versus: Path | None,
    model: str | None,
    hidden: str,
    novelty: bool,
    images: tuple[int, ...],
    activations: tuple[str, ...],
    callers: int,
    seconds: float,
    rounds: int,
    settings: str,
    as_json: bool,
) -> None:
    """Measure the throughput of a server, alone or beside another one, and print it."""
    programs = {"server": server} | ({"versus": versus} if versus else {})
    loads = [Load(*load) for load in itertools.product(images, activations)]
    with tempfile.TemporaryDirectory() as folder:
        if model is None:
            path = export_random(Path(folder, "model.onnx"), [int(width) for width in hidden.split(",")], novelty)
            model = str(path)
        arguments = ([] if model == BUNDLED else [model]) + ["--log-level", "error", *shlex.split(settings)]
        found = measure_all(programs, loads, arguments, callers, seconds, rounds)
    click.echo(as_object(found, programs) if as_json else as_text(found))


def measure_all(
    programs: Mapping[str, Path],
    loads: Sequence[Load],
    arguments: Sequence[str],
    callers: int,
    seconds: float,
    rounds: int,
) -> Rounds:
    """Measures every load on every server, in turns; servers are started anew for each load."""
    found: Rounds = {load: {name: [] for name in programs} for load in loads}
    for load in loads:
        with ExitStack() as stack:
            servers = {
                name: stack.enter_context(running(*arguments, program=program)) for name, program in programs.items()
            }
            requests = {name: request_of(load, server.target) for name, server in servers.items()}
            for _, name in in_turns(list(programs), rounds):
                found[load][name].append(asyncio.run(measure(servers[name], requests[name], callers, seconds)))
    return found


def request_of(load: Load, target: str) -> pb.ClassifyRequest:
    """The load's request to the model that the server at `target` serves; its pixels are noise."""
    with grpc.insecure_channel(target) as channel:
        model = ClassifierServiceStub(channel).GetModel(pb.GetModelRequest()).model
    hidden = [layer.name for layer in model.layers if layer.kind == pb.LAYER_KIND_RELU]
    height, width = model.pixels_shape
    count = load.images
    return pb.ClassifyRequest(
        pixels=pb.Tensor(
            shape=[count, height, width], dtype=pb.DATA_TYPE_UINT8, data=os.urandom(count * height * width)
        ),
        activations=pb.LayerSelection(
            all=load.activations == "all", names=hidden if load.activations == "hidden" else []
        ),
    )


async def measure(server: Server, request: pb.ClassifyRequest, callers: int, seconds: float) -> Measurement:
    """Calls for `seconds`, after a warm-up of a quarter of them."""
    channels = [
        grpc.aio.insecure_channel(server.target, OWN_CONNECTION) for _ in range(max(1, callers // CALLERS_PER_CHANNEL))
    ]
    stubs = [ClassifierServiceStub(channel) for channel in channels]
    begin, spent = time.perf_counter() + seconds / 4, server.cpu_seconds()
    calls = await asyncio.gather(*(call_until(stubs[i % len(stubs)], request, begin + seconds) for i in range(callers)))
    spent = server.cpu_seconds() - spent
    await asyncio.gather(*(channel.close() for channel in channels))
    starts, latencies = np.concatenate(calls).T
    measured = latencies[starts >= begin] * 1000
    p50, p99 = np.percentile(measured, (50, 99)).tolist()
    return Measurement(len(measured) / seconds, p50, p99, spent / len(latencies) * 1e6)


async def call_until(stub: ClassifierServiceStub, request: pb.ClassifyRequest, end: float) -> list[tuple[float, float]]:
    """Calls one after the other until `end`; gives each call's start and its duration in seconds."""
    classify: Any = stub.Classify  # the generated stub's types know synchronous channels only
    calls = []
    while (start := time.perf_counter()) < end:
        await classify(request)
        calls.append((start, time.perf_counter() - start))
    return calls


def ratios(measured: Mapping[str, Sequence[Measurement]]) -> dict[str, Summary]:
    """This server's values divided by the other's, round by round; empty for one server."""
    if len(measured) == 1:
        return {}
    pairs = list(zip(measured["server"], measured["versus"], strict=True))
    return {
        name: Summary.of([getattr(ours, name) / getattr(theirs, name) for ours, theirs in pairs]) for name in RATIOS
    }


def as_object(found: Rounds, programs: Mapping[str, Path]) -> str:
    """Every measurement and the ratios, as one JSON object."""
    loads = [
        {
            **asdict(load),
            **{name: [asdict(round_) for round_ in rounds] for name, rounds in measured.items()},
            "ratios": {name: asdict(ratio) for name, ratio in ratios(measured).items()},
        }
        for load, measured in found.items()
    ]
    paths = {name: str(path) for name, path in programs.items()}
    return json.dumps({"machine": machine("grpcio", "onnxruntime"), "programs": paths, "loads": loads})


def as_text(found: Rounds) -> str:
    """The same in short: a block for each load."""
    lines = [machine_line("grpcio", "onnxruntime")]
    for load, measured in found.items():
        lines.append(str(load))
        for unit, digits in UNITS.items():
            for name, rounds in measured.items():
                values = Summary.of([getattr(round_, unit) for round_ in rounds])
                lines.append(f"  {unit:<20} {name:<7} {values.text(digits)}")
            if ratio := ratios(measured).get(unit):
                lines.append(f"  {unit:<20} ratio   {ratio.text(3)}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
