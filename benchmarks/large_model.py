"""Measures a model that is larger than all the rest of a server: memory over its weights, and one image's latency.

    python -m benchmarks.large_model [--model FILE] [--workers 2] [--frontend grpc] [--against PROGRAM] [--rounds 5]

Without `--model`, a model of 103 million parameters with random weights is exported first: 414 MB beside its file. In
each round each server starts, answers some callers, and tells its memory: the proportional set size (Pss) of all its
processes, in which a page that several processes share counts once. Then one image is classified again and again by one
caller, in turns with ONNX Runtime alone in this process: with the server's own options, and with ONNX Runtime's usual
ones, which lay the weights out anew and so need a second copy. Ratios are of a round's medians.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import click
import numpy as np
import onnx
import onnxruntime

from benchmarks.harness.artifacts import export_random
from benchmarks.harness.machine import machine, machine_line
from benchmarks.harness.processes import pss_kib
from benchmarks.harness.rounds import in_turns
from benchmarks.harness.servers import VITRINE_SERVER, Server, running
from benchmarks.harness.summary import Summary
from vitrine.client import Client
from vitrine.server.engine.device import Device
from vitrine.server.engine.loading import load_artifact

HIDDEN_LAYERS = (8192, 8192, 4096)
CALLERS = 8
"""Callers with a connection of their own before memory is measured, so that each worker has answered."""

PACKAGES = ("vitrine-serving", "onnxruntime", "grpcio", "numpy")
UNITS = {
    "memory": "memory (Pss) over the weights",
    "same_options": "latency over ONNX Runtime alone, with the server's options",
    "usual_options": "latency over ONNX Runtime alone, with its usual options",
    "milliseconds": "ms for one image",
}

Values: TypeAlias = dict[str, float]
"""A round's value by the names of `UNITS`."""


@click.command()
@click.option("--model", type=click.Path(exists=True, path_type=Path), help="A model with its weights beside it.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Worker processes.")
@click.option("--frontend", default="grpc", show_default=True, type=click.Choice(["grpc", "envoy"]))
@click.option("--against", type=click.Path(path_type=Path), help="Another checkout's vitrine-server.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="Starts of each server.")
@click.option("--calls", default=15, show_default=True, type=click.IntRange(1), help="Timed calls of each start.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def main(
    model: Path | None, workers: int, frontend: str, against: Path | None, rounds: int, calls: int, as_json: bool
) -> None:
    """Measure the memory and the latency of a large model, and print both."""
    programs = {"this": VITRINE_SERVER, **({"against": against} if against else {})}
    found: dict[str, list[Values]] = {name: [] for name in programs}
    with _exported(model) as file:
        alone = {"same_options": _served_alone(file), "usual_options": _alone(file)}
        for _, name in in_turns(list(programs), rounds):
            flags = ("--workers", str(workers), "--frontend", frontend, "--log-level", "error")
            with running(file, *flags, program=programs[name]) as server:
                found[name].append(_measure(server, file, alone, calls))
    summaries = {
        name: {unit: Summary.of([values[unit] for values in each]) for unit in UNITS} for name, each in found.items()
    }
    title = f"{workers} workers, {frontend}"
    if as_json:
        figures = {name: {unit: asdict(it) for unit, it in each.items()} for name, each in summaries.items()}
        print(json.dumps({"machine": machine(*PACKAGES), "servers": title, **figures}))
        return
    print(f"{machine_line(*PACKAGES)}; {title}")
    for name, each in summaries.items():
        for unit, summary in each.items():
            print(f"{name:<8} {UNITS[unit]}: {summary.text(3)}")


@contextmanager
def _exported(model: Path | None) -> Iterator[Path]:
    """The model that was given, or one with random weights."""
    if model:
        if missing := _missing_weights(model):
            raise click.BadParameter(
                f"{model} has its weights in {missing}, which isn't there: copy both", param_hint="--model"
            )
        yield model
        return
    with TemporaryDirectory() as folder:
        yield export_random(Path(folder, "model.onnx"), HIDDEN_LAYERS)


def _missing_weights(model: Path) -> Path | None:
    """The file of a model's weights that isn't beside it; None: nothing is missing."""
    needed = {
        model.with_name(entry.value)
        for tensor in onnx.load(model, load_external_data=False).graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return next((path for path in sorted(needed) if not path.is_file()), None)


Run: TypeAlias = Callable[[], object]
"""Calculates one image."""


def _served_alone(file: Path) -> Run:
    """The engine of a server, with its options, in this process."""
    model, pixels = load_artifact(file, Device.CPU), _image()[np.newaxis]
    return lambda: model.engine.run(pixels, model.required_outputs)


def _alone(file: Path) -> Run:
    """ONNX Runtime with its usual options, on one thread as the server has it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    pixels, output = _image()[np.newaxis], [layer.name for layer in session.get_outputs()][-1:]
    return lambda: session.run(output, {"pixels": pixels})


def _image() -> "np.typing.NDArray[np.uint8]":
    """Pixels, uint8 (18, 18)."""
    return np.random.default_rng(0).integers(0, 256, (18, 18), dtype=np.uint8)


def _measure(server: Server, file: Path, alone: dict[str, Run], calls: int) -> Values:
    """A server's memory after some callers, then its latency in turns with ONNX Runtime's."""
    for _ in range(CALLERS):
        with Client(server.target) as client:
            client.classify(_image(), preparation="none")
    memory = pss_kib(server.process.pid) * 1024 / file.with_name(file.name + ".data").stat().st_size
    with Client(server.target) as client:
        kinds = {"served": lambda: client.classify(_image(), preparation="none", activations=None), **alone}
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        for run in kinds.values():
            run()
        for _, kind in in_turns(list(kinds), calls):
            begin = time.perf_counter()
            kinds[kind]()
            times[kind].append(time.perf_counter() - begin)
    medians = {kind: statistics.median(each) for kind, each in times.items()}
    ratios = {kind: medians["served"] / medians[kind] for kind in alone}
    return {"memory": memory, **ratios, "milliseconds": medians["served"] * 1000}


if __name__ == "__main__":
    main()
