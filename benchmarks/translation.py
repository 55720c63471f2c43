"""Cost of the Open Inference Protocol: the server's CPU time for `ModelInfer` beside that for `Classify`.

    python -m benchmarks.translation [--images 1] [--layers all] [--json]

One server answers both methods, with the same images and layers, in turns: the same number of requests in every round.
CPU time is that of the server's processes as the kernel counts it. It prints the CPU time per request of each method,
in microseconds, and ratios of the two in the same round.
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
import grpc
import grpc.aio
import numpy as np

from benchmarks.harness.artifacts import export_random
from benchmarks.harness.machine import machine, machine_line
from benchmarks.harness.rounds import in_turns
from benchmarks.harness.servers import Server, running
from benchmarks.harness.summary import Summary
from vitrine.oip import inference_pb2 as oip
from vitrine.oip.inference_pb2_grpc import GRPCInferenceServiceStub
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

METHODS = ("Classify", "ModelInfer")
MICROSECONDS = 1_000_000

Send: TypeAlias = Callable[[], Coroutine[Any, Any, Any]]
"""Sends one request, and waits for its answer."""


@click.command()
@click.option("--images", default=1, show_default=True, help="Images in each request.")
@click.option("--layers", default="", help="Layers to ask for, separated by commas; or: all.  [default: none]")
@click.option("--hidden", default="512,256", show_default=True, help="Hidden layers of the model.")
@click.option("--callers", default=8, show_default=True, help="Requests in flight.")
@click.option(
    "--requests", default=4000, show_default=True, help="Requests of each method in a round; CPU time counts in 10 ms."
)
@click.option("--rounds", default=6, show_default=True, help="Measurements of each method, after one to warm up.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def main(images: int, layers: str, hidden: str, callers: int, requests: int, rounds: int, as_json: bool) -> None:
    """Measure the server's CPU time per request in both protocols, and print it."""
    widths = [int(width) for width in hidden.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        model = export_random(Path(folder, "model.onnx"), widths)
        with running(model, "--log-level", "error") as server:
            wanted = all_layers(server) if layers == "all" else [name for name in layers.split(",") if name]
            found = asyncio.run(measure(server, os.urandom(images * 324), wanted, callers, requests, rounds))
    summaries = {name: Summary.of(values) for name, values in found.items()}
    ratio = Summary.of([theirs / ours for ours, theirs in zip(*found.values(), strict=True)])
    settings = {"images": images, "layers": wanted, "hidden": widths, "callers": callers, "requests": requests}
    click.echo(as_object(settings, summaries, ratio) if as_json else as_text(summaries, ratio))


def as_object(settings: dict[str, Any], summaries: dict[str, Summary], ratio: Summary) -> str:
    """Settings and results, as one JSON object."""
    spent = {name: asdict(summary) for name, summary in summaries.items()}
    return json.dumps({"machine": machine("grpcio"), **settings, "cpu_us_per_request": spent, "ratio": asdict(ratio)})


def as_text(summaries: dict[str, Summary], ratio: Summary) -> str:
    """Results as text."""
    lines = [f"{name:<12} {summary.text(1)} µs of the server's CPU per request" for name, summary in summaries.items()]
    return "\n".join([machine_line("grpcio"), *lines, f"ModelInfer costs {ratio.text(3)} times as much"])


def all_layers(server: Server) -> list[str]:
    """Names of the served model's layers."""
    with grpc.insecure_channel(server.target) as channel:
        answer = ClassifierServiceStub(channel).GetModel(pb.GetModelRequest())
    return [layer.name for layer in answer.model.layers]


async def measure(
    server: Server, pixels: bytes, wanted: list[str], callers: int, requests: int, rounds: int
) -> dict[str, list[float]]:
    """CPU time per request of each method, in microseconds, in every round."""
    found: dict[str, list[float]] = {name: [] for name in METHODS}
    each = requests // callers
    async with grpc.aio.insecure_channel(server.target) as channel:
        senders = make_senders(channel, pixels, wanted)
        await check_equal(senders)
        for turn, name in in_turns(METHODS, rounds + 1):
            begin = server.cpu_seconds()
            await asyncio.gather(*(send_often(senders[name], each) for _ in range(callers)))
            if turn:  # the first round warms up
                found[name].append((server.cpu_seconds() - begin) / (each * callers) * MICROSECONDS)
    return found


def make_senders(channel: grpc.aio.Channel, pixels: bytes, wanted: list[str]) -> dict[str, Send]:
    """The same request in both protocols: digits, output layer, and wanted layers."""
    ours: Any = ClassifierServiceStub(channel)  # the generated stubs' types know synchronous channels only
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

    async def send_ours() -> Any:
        return await ours.Classify(classify)

    async def send_theirs() -> Any:
        return await theirs.ModelInfer(infer)

    return {"Classify": send_ours, "ModelInfer": send_theirs}


async def check_equal(senders: dict[str, Send]) -> None:
    """Checks that both methods give the same answer."""
    ours, theirs = [await senders[name]() for name in METHODS]
    raw = {output.name: data for output, data in zip(theirs.outputs, theirs.raw_output_contents, strict=True)}
    if np.frombuffer(raw.pop("digit"), "<i8").tolist() != list(ours.digits):
        raise RuntimeError("the digits differ")
    if raw != {tensor.name: tensor.data for tensor in (ours.probabilities, *ours.activations)}:
        raise RuntimeError("the activations differ")


async def send_often(send: Send, count: int) -> None:
    """Sends `count` requests, one after the other."""
    for _ in range(count):
        await send()


if __name__ == "__main__":
    main()
