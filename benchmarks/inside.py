"""Cost of a look inside: requests with interventions and explanations, beside plain ones and ONNX Runtime alone.

    python -m benchmarks.inside [--rounds 11] [--calls 40] [--json]

One caller sends requests of 1 and of 64 images' pixels to a server with the bundled model, by gRPC on this machine, one
after the other, in turns between the kinds. `ONNX Runtime` is the model's plain run in this process, by itself, and
with interventions the run of the second graph. A request with interventions takes one run of each. The printed times
are medians over rounds of the median call of a round, in milliseconds. At the end, plain requests of one image are
timed while another caller has integrated gradients of 256 images explained.
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, TypeAlias

import click
import grpc
import numpy as np

from benchmarks.harness.machine import machine, machine_line
from benchmarks.harness.rounds import in_turns
from benchmarks.harness.servers import running
from benchmarks.harness.summary import Summary
from vitrine.server.bundled import bundled_model
from vitrine.server.engine.device import Device
from vitrine.server.engine.loading import load_artifact
from vitrine.server.inference.interventions import gather_changes
from vitrine.server.inference.requests import Change
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

IMAGES = (1, 64)
LONG = 256
"""Images whose integrated gradients are a long explanation."""

ALONE = "ONNX Runtime"
"""The plain run that the others are compared with."""

UNITS = [17, 18, 19]
"""Units of the first layer that are silenced."""

SILENCED = pb.ImageInterventions(interventions=[pb.Intervention(layer="relu_1", units=UNITS, scale=0)])

Call: TypeAlias = Callable[[], Any]
"""Does one call, and waits for its end."""


@click.command()
@click.option("--rounds", default=11, show_default=True, help="Measurements of each kind, after one to warm up.")
@click.option("--calls", default=40, show_default=True, help="Calls of a kind in each round.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def main(rounds: int, calls: int, as_json: bool) -> None:
    """Measure the cost of interventions and explanations, and print it."""
    with running("--log-level", "error") as server, grpc.insecure_channel(server.target) as channel:
        stub = ClassifierServiceStub(channel)
        found = {images: measure(calls_of(stub, images), rounds, calls) for images in IMAGES}
        beside = while_explaining(stub)
    if as_json:
        times = {images: {kind: asdict(summary) for kind, summary in kinds.items()} for images, kinds in found.items()}
        print(json.dumps({"machine": machine("grpcio"), "ms": times, "beside_ms": asdict(beside)}))
        return
    print(machine_line("grpcio"))
    for images, kinds in found.items():
        for kind, summary in kinds.items():
            ratio = summary.median / kinds[ALONE].median
            print(f"{images:>3} images  {kind:<28} {summary.text(3):>36} ms {ratio:>7.2f} × {ALONE}")
    print(f"  1 image   plain, beside integrated gradients of {LONG} images: {beside.text(3)} ms")


def random_pixels(images: int) -> Any:
    """Noise, uint8 (images, 18, 18)."""
    return np.random.default_rng(images).integers(0, 256, (images, 18, 18), np.uint8)


def tensor_of(pixels: Any) -> pb.Tensor:
    """Pixels as a message."""
    return pb.Tensor(shape=pixels.shape, dtype=pb.DATA_TYPE_UINT8, data=pixels.tobytes())


def calls_of(stub: ClassifierServiceStub, images: int) -> Mapping[str, Call]:
    """Calls of each kind with the same images; the output layer is all that is asked for."""
    model, pixels = load_artifact(bundled_model(), Device.CPU), random_pixels(images)
    assert model.intervened is not None
    layers = {layer.name: layer for layer in model.metadata.layers}
    changes = gather_changes([[Change("relu_1", np.array(UNITS), scale=0.0)]], layers)
    tensor = tensor_of(pixels)
    gradients = pb.ExplainRequest(pixels=tensor, method=pb.ATTRIBUTION_METHOD_INTEGRATED_GRADIENTS)
    return {
        ALONE: partial(model.engine.run, pixels, model.required_outputs),
        f"{ALONE}, interventions": partial(model.intervened.run, pixels, model.required_outputs, changes),
        "plain": partial(stub.Classify, pb.ClassifyRequest(pixels=tensor)),
        "interventions": partial(stub.Classify, pb.ClassifyRequest(pixels=tensor, interventions=[SILENCED])),
        "explanation": partial(stub.Explain, pb.ExplainRequest(pixels=tensor)),
        "integrated gradients": partial(stub.Explain, gradients),
    }


def measure(kinds: Mapping[str, Call], rounds: int, calls: int) -> Mapping[str, Summary]:
    """Milliseconds of a call of each kind."""
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn, kind in in_turns(list(kinds), rounds + 1):
        times = calls // 40 if kind == "integrated gradients" else calls
        milliseconds = statistics.median(milliseconds_of(kinds[kind]) for _ in range(max(1, times)))
        if turn:  # the first round warms up
            found[kind].append(milliseconds)
    return {kind: Summary.of(values) for kind, values in found.items()}


def milliseconds_of(call: Call) -> float:
    """The time of one call."""
    begin = time.perf_counter()
    call()
    return (time.perf_counter() - begin) * 1000


def while_explaining(stub: ClassifierServiceStub) -> Summary:
    """Milliseconds of plain requests of one image while a long explanation is under way."""
    request = pb.ExplainRequest(
        pixels=tensor_of(random_pixels(LONG)), method=pb.ATTRIBUTION_METHOD_INTEGRATED_GRADIENTS
    )
    explaining = stub.Explain.future(request)
    plain = pb.ClassifyRequest(pixels=tensor_of(random_pixels(1)))
    times = []
    while not explaining.done():
        times.append(milliseconds_of(partial(stub.Classify, plain)))
    return Summary.of(times)


if __name__ == "__main__":
    main()
