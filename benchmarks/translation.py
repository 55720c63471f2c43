"""What the open protocol's translation costs: the server's CPU time for `ModelInfer` beside that for `Classify`.

One server answers both, with the same images and layers, in turns: the same number of requests of each in every round,
and each first in every other round. CPU time is that of the server's process, all threads, as the kernel counts it.
"""

import asyncio
import json
import os
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import click
import grpc.aio
import numpy as np

from benchmarks.harness.artifacts import export_random
from benchmarks.harness.servers import Server, running
from benchmarks.harness.summary import Summary
from vitrine.model import layer_catalogue
from vitrine.oip import inference_pb2 as oip
from vitrine.oip.inference_pb2_grpc import GRPCInferenceServiceStub
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

CALLS = ("Classify", "ModelInfer")
MICROSECONDS = 1_000_000

Ask: TypeAlias = Callable[[], Coroutine[Any, Any, Any]]
"""Sends one request, and waits for its answer."""


@click.command()
@click.option("--rows", default=1, help="Images in each request.")
@click.option("--layers", default="", help="Layers whose activations are asked for, with commas between; or: all.")
@click.option("--hidden", default="512,256", help="The model's hidden layers.")
@click.option("--callers", default=8, help="How many requests are under way at once.")
@click.option("--requests", default=4000, help="Requests of each kind in a round; a tick of the clock is 10 ms.")
@click.option("--rounds", default=6, help="How often each kind is measured; one more comes first, and doesn't count.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object in place of a table.")
def main(rows: int, layers: str, hidden: str, callers: int, requests: int, rounds: int, as_json: bool) -> None:
    """Measure, and print the server's CPU time for a request of each kind, in microseconds, and their ratio."""
    widths = [int(width) for width in hidden.split(",")]
    known = [layer.name for layer in layer_catalogue(widths)]
    wanted = known if layers == "all" else [name for name in layers.split(",") if name]
    with tempfile.TemporaryDirectory() as folder:
        model = export_random(Path(folder, "model.onnx"), widths)
        with running(str(model), "--log-level", "error") as server:
            found = asyncio.run(measure(server, os.urandom(rows * 324), wanted, callers, requests, rounds))
    figures = {name: Summary.of(values) for name, values in found.items()}
    ratio = Summary.of([theirs / ours for ours, theirs in zip(*found.values(), strict=True)])
    settings = {"rows": rows, "layers": wanted, "hidden": widths, "callers": callers, "requests": requests}
    click.echo(as_one_object(settings, figures, ratio) if as_json else as_table(figures, ratio))


def as_one_object(settings: dict[str, Any], figures: dict[str, Summary], ratio: Summary) -> str:
    """What was measured and how, as JSON."""
    spent = {name: asdict(figure) for name, figure in figures.items()}
    return json.dumps({**settings, "cpu_us_per_request": spent, "ratio": asdict(ratio)})


def as_table(figures: dict[str, Summary], ratio: Summary) -> str:
    """The same for people."""
    lines = [f"{name:<12} {figure.text(1)} µs of the server's CPU a request" for name, figure in figures.items()]
    return "\n".join([*lines, f"ModelInfer costs {ratio.text(3)} times as much"])


async def measure(
    server: Server, pixels: bytes, wanted: list[str], callers: int, requests: int, rounds: int
) -> dict[str, list[float]]:
    """The CPU time of a request of each kind, in microseconds, in every round."""
    found: dict[str, list[float]] = {name: [] for name in CALLS}
    each = requests // callers
    async with grpc.aio.insecure_channel(server.target) as channel:
        asks = asking(channel, pixels, wanted)
        await check_equal(asks)
        for turn in range(rounds + 1):
            for name in CALLS[:: -1 if turn % 2 else 1]:
                begin = server.cpu_seconds()
                await asyncio.gather(*(ask_often(asks[name], each) for _ in range(callers)))
                if turn:
                    found[name].append((server.cpu_seconds() - begin) / (each * callers) * MICROSECONDS)
    return found


def asking(channel: grpc.aio.Channel, pixels: bytes, wanted: list[str]) -> dict[str, Ask]:
    """The same question in both protocols: the digits, the output layer, and the wanted layers."""
    ours: Any = ClassifierServiceStub(channel)  # the generated stubs' types know only channels that wait
    theirs: Any = GRPCInferenceServiceStub(channel)
    shape = [len(pixels) // 324, 18, 18]
    classify = pb.ClassifyRequest(
        pixels=pb.Tensor(shape=shape, dtype=pb.DATA_TYPE_UINT8, data=pixels),
        activations=pb.LayerSelection(names=wanted),
    )
    outputs = dict.fromkeys(["digit", "softmax", *wanted])
    infer = oip.ModelInferRequest(
        model_name="benchmark",
        inputs=[oip.ModelInferRequest.InferInputTensor(name="pixels", datatype="UINT8", shape=shape)],
        outputs=[oip.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs],
        raw_input_contents=[pixels],
    )

    async def ask_ours() -> Any:
        return await ours.Classify(classify)

    async def ask_theirs() -> Any:
        return await theirs.ModelInfer(infer)

    return {"Classify": ask_ours, "ModelInfer": ask_theirs}


async def check_equal(asks: dict[str, Ask]) -> None:
    """Sees to it that both are answered with the same."""
    ours, theirs = [await asks[name]() for name in CALLS]
    raw = {output.name: data for output, data in zip(theirs.outputs, theirs.raw_output_contents, strict=True)}
    if np.frombuffer(raw.pop("digit"), "<i8").tolist() != list(ours.digits):
        raise RuntimeError("the digits differ")
    if raw != {tensor.name: tensor.data for tensor in (ours.probabilities, *ours.activations)}:
        raise RuntimeError("the activations differ")


async def ask_often(ask: Ask, count: int) -> None:
    """Asks one time after the other."""
    for _ in range(count):
        await ask()


if __name__ == "__main__":
    main()
