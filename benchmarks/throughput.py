"""How many requests a second a server answers, and how long each takes; closed loop, many callers at once.

It starts `vitrine-server` in a process of its own (or the ones that `--server` names, in turns, for a comparison in one
sitting: machines differ from minute to minute, ratios hardly do), and calls it from this process over one channel for
each few callers.
"""

import asyncio
import json
import os
import shlex
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import grpc.aio
import numpy as np
import torch
from servers import OWN_CONNECTION, Server, running

from vitrine.model import TrainingFacts
from vitrine.training import MLP, export
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

CALLERS_PER_CHANNEL = 16


@dataclass(frozen=True)
class Figures:
    """What one run measured."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us_per_request: float
    """The server's; where other programs are at work too, it says more than the rest."""


@click.command()
@click.option("--server", "sources", multiple=True, help="A source tree whose server is measured; may be given twice.")
@click.option("--callers", default=64, help="How many requests are under way at once.")
@click.option("--rows", default=1, help="Images in each request.")
@click.option("--seconds", default=4.0, help="How long each run takes.")
@click.option("--rounds", default=3, help="How often each server is measured, in turns.")
@click.option("--settings", default="", help="Further arguments of the server, as in a shell.")
@click.option("--hidden", default="512,256", help="The model's hidden layers.")
@click.option("--activations/--no-activations", default=False, help="Whether every layer is asked for.")
@click.option("--novelty/--no-novelty", default=False, help="Whether the model can tell what is no digit.")
def main(
    sources: tuple[str, ...],
    callers: int,
    rows: int,
    seconds: float,
    rounds: int,
    settings: str,
    hidden: str,
    activations: bool,
    novelty: bool,
) -> None:
    """Measure, and print one JSON line for each run, with the medians at the end."""
    pixels = pb.Tensor(shape=[rows, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=os.urandom(rows * 324))
    request = pb.ClassifyRequest(pixels=pixels, activations=pb.LayerSelection(all=activations))
    found: dict[str, list[Figures]] = {source: [] for source in sources or (".",)}
    with tempfile.TemporaryDirectory() as folder:
        model = export_model(Path(folder, "model.onnx"), [int(width) for width in hidden.split(",")], novelty)
        for turn in range(rounds):
            for source in list(found)[:: -1 if turn % 2 else 1]:  # whoever comes later in a round is slower: take turns
                with running(str(model), "--log-level", "error", *shlex.split(settings), source=source) as server:
                    found[source].append(asyncio.run(measure(server, request, callers, seconds)))
                click.echo(json.dumps({"server": source} | asdict(found[source][-1])))
    for source, figures in found.items():
        rates = [figure.requests_per_second for figure in figures]
        cost = np.median([figure.cpu_us_per_request for figure in figures])
        click.echo(
            f"{source}: median {np.median(rates):,.0f} requests/s, {min(rates):,.0f} to {max(rates):,.0f}, n={rounds}; "
            f"{cost:,.0f} µs of the server's CPU time a request"
        )


def export_model(path: Path, hidden: list[int], novelty: bool = False) -> Path:
    """An artifact of random weights: what they are makes no difference to how long they take."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 18, 18), dtype=np.uint8)
    mlp = MLP(hidden, generator=torch.Generator().manual_seed(0))
    facts, threshold = TrainingFacts("noise", 0, 0), -2.5 if novelty else None
    export(mlp, path, name="benchmark", facts=facts, pixels=pixels, novelty_threshold=threshold)
    return path


async def measure(server: Server, request: pb.ClassifyRequest, callers: int, seconds: float) -> Figures:
    """Calls for some seconds, after a warm-up of a quarter of them."""
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
    return Figures(len(measured) / seconds, p50, p99, spent / len(latencies) * 1e6)


async def call_until(stub: ClassifierServiceStub, request: pb.ClassifyRequest, end: float) -> list[tuple[float, float]]:
    """Calls one after the other; when each began, and the seconds that it took."""
    calls = []
    while (start := time.perf_counter()) < end:
        await answer_of(stub, request)
        calls.append((start, time.perf_counter() - start))
    return calls


async def answer_of(stub: ClassifierServiceStub, request: pb.ClassifyRequest) -> pb.ClassifyResponse:
    """One call; the generated stub's types know only channels that wait."""
    call: Any = stub.Classify(request)
    response: pb.ClassifyResponse = await call
    return response


if __name__ == "__main__":
    main()
