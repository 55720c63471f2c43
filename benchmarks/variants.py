"""Size, speed, error and deviation of an artifact in float16 or int8, beside the float32 artifact.

    python -m benchmarks.variants MODEL.onnx [--dataset mnist] [--json]

Variants are made in a temporary folder and deleted. None of them is an artifact: a server refuses them, because their
graph isn't the one in the metadata, or their activations differ from PyTorch's by more than 1e-4.

A variant is worth it if it is faster at the batch size in use, or if size matters most. Its error must stay within the
float32 model's own spread from seed to seed: an error of 0.5 % of 10,000 images is known to about 7 images.

One image at a time reads every weight once, so that the number of bytes counts, if the products take them as they are.
Float16 that is cast back to float32 saves a file's size and nothing else. Many images at a time are bound by the
products, and by int8's conversion of each layer's activations to bytes and back. The deviation is an activation's
largest difference, relative to the layer's largest activation, or to 1 if that is smaller.
"""

import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.harness.machine import machine
from benchmarks.harness.rounds import in_turns
from benchmarks.harness.summary import Summary
from vitrine.model import ArtifactMetadata, deviation
from vitrine.training import Dataset, load_dataset
from vitrine.training.network.runtime import onnxruntime

BATCHES = (1, 64)
"""Images at a time."""

CALIBRATION_IMAGES = 2000
"""Training images from which static quantization finds each layer's range."""

CHUNK = 1000
"""Images compared at a time, to bound memory."""

WARM_UP = 10
"""Runs before the timed ones."""

MICROSECONDS = 1e6

CPU_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_fp16", "amx_int8", "asimddp", "fphp")
"""CPU features that decide the speed of small numbers, by Linux's names."""

Images = npt.NDArray[np.uint8]
Make = Callable[[onnx.ModelProto, Path, Images], None]
"""Makes a variant of a model at a path, calibrated with images: uint8 (N, 18, 18)."""


@dataclass(frozen=True)
class Variant:
    """Measurements of one variant."""

    size: int
    """Bytes of the file."""
    microseconds: dict[int, Summary]
    """Time of a run with one thread, by batch size."""
    error: float
    """Misclassified share of the test part, 0 to 1."""
    changed: int
    """Test images that get another digit than from the float32 model."""
    deviations: dict[str, float]
    """Largest deviation of each layer's activations over the test part."""


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--dataset", default="mnist", show_default=True, help="Data set: its training part calibrates, its test part tests."
)
@click.option("--rounds", default=7, show_default=True, help="Timings of each variant, in turns.")
@click.option("--seconds", default=0.5, show_default=True, help="Seconds of each timing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def main(model: Path, dataset: str, rounds: int, seconds: float, as_json: bool) -> None:
    """Make variants of the artifact MODEL, measure them beside it, and print the results."""
    data = load_dataset(dataset, progress=False)
    with tempfile.TemporaryDirectory() as folder:
        files = make_variants(model, data, Path(folder))
        sessions = {name: open_session(file) for name, file in files.items()}
        layers = layers_of(original := sessions["float32"])
        times = measure_times(sessions, layers[-1], data.test.pixels, rounds, seconds)
        found = {
            name: Variant(files[name].stat().st_size, times[name], *compare(session, original, layers, data))
            for name, session in sessions.items()
        }
    click.echo(as_object(found) if as_json else as_table(found))


def make_variants(model: Path, data: Dataset, folder: Path) -> dict[str, Path]:
    """Files of all variants by name, after the model itself."""
    original = onnx.load(model)
    spread = np.linspace(0, len(data.train) - 1, min(CALIBRATION_IMAGES, len(data.train))).astype(np.int64)
    files = {"float32": model}
    for name, make in MAKERS.items():
        files[name] = folder / f"{name.replace(' ', '_')}.onnx"
        make(onnx.ModelProto.FromString(original.SerializeToString()), files[name], data.train.pixels[spread])
    return files


def store_float16(model: onnx.ModelProto, path: Path, _images: Images) -> None:
    """Stores parameters as float16 and calculates in float32: a session casts them once, when it is opened."""
    graph = model.graph
    for tensor in [each for each in graph.initializer if each.data_type == TensorProto.FLOAT]:
        name = tensor.name
        graph.node.insert(0, helper.make_node("Cast", [f"{name}.float16"], [name], to=TensorProto.FLOAT))
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}.float16"))
    onnx.save(model, path)


def calculate_float16(model: onnx.ModelProto, path: Path, _images: Images) -> None:
    """Calculates in float16; a session casts to float32 and back around operators that the CPU lacks in float16."""
    graph = model.graph
    for tensor in [each for each in graph.initializer if each.data_type == TensorProto.FLOAT]:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for attribute in (each for node in graph.node if node.op_type == "Cast" for each in node.attribute):
        attribute.i = TensorProto.FLOAT16
    for output in graph.output:
        output.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, path)


def quantize_dynamically(model: onnx.ModelProto, path: Path, _images: Images) -> None:
    """Quantizes weights to int8 with a scale for each output unit, and activations anew for every batch."""
    from onnxruntime import quantization  # only after `runtime` has switched telemetry off

    with quiet():
        quantization.quantize_dynamic(model, path, per_channel=True)


def quantize_statically(model: onnx.ModelProto, path: Path, images: Images) -> None:
    """Quantizes weights to int8 with a scale for each output unit, and activations by ranges of training images."""
    from onnxruntime import quantization

    with quiet():
        quantization.quantize_static(
            model,
            path,
            Batches(images),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            op_types_to_quantize=["Gemm"],  # quantizing Relu too would cut linear layers, which are outputs, at 0
        )


MAKERS: Mapping[str, Make] = {
    "float16 stored": store_float16,
    "float16": calculate_float16,
    "int8 dynamic": quantize_dynamically,
    "int8 static": quantize_statically,
}
"""Makers of variants, by name."""


class Batches:
    """Calibration images for `quantize_static`: a batch at a time, then None."""

    def __init__(self, images: Images) -> None:
        self._batches: Iterator[Images] = iter(np.array_split(images, -(-len(images) // CHUNK)))

    def get_next(self) -> dict[str, Images] | None:
        """The next batch."""
        batch = next(self._batches, None)
        return None if batch is None else {"pixels": batch}


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the quantizer's advice, which is meant for larger graphs."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def open_session(path: Path) -> Any:
    """A session like a worker's: one thread, without spinning."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def measure_times(
    sessions: Mapping[str, Any], output: str, pixels: Images, rounds: int, seconds: float
) -> dict[str, dict[int, Summary]]:
    """Time of a run, in microseconds, by variant and batch size."""
    found: dict[str, dict[int, list[float]]] = {name: {batch: [] for batch in BATCHES} for name in sessions}
    for batch in BATCHES:
        images = np.resize(pixels, (batch, *pixels.shape[1:]))
        for _, name in in_turns(list(sessions), rounds):
            found[name][batch].append(median_time(sessions[name], output, images, seconds))
    return {name: {batch: Summary.of(times) for batch, times in each.items()} for name, each in found.items()}


def median_time(session: Any, output: str, images: Images, seconds: float) -> float:
    """Median time of the runs in some seconds, after a warm-up; the output layer is the only output."""
    times: list[float] = []
    for _ in range(WARM_UP):
        session.run([output], {"pixels": images})
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        begun = time.perf_counter()
        session.run([output], {"pixels": images})
        times.append(time.perf_counter() - begun)
    return float(np.median(times)) * MICROSECONDS


def layers_of(model: Any) -> list[str]:
    """Names of the model's layers, from its metadata."""
    metadata = ArtifactMetadata.from_properties(model.get_modelmeta().custom_metadata_map)
    return [layer.name for layer in metadata.layers]


def compare(variant: Any, model: Any, layers: list[str], data: Dataset) -> tuple[float, int, dict[str, float]]:
    """A variant's error on the test part, the number of changed digits, and each layer's deviation."""
    wrong, changed, deviations = 0, 0, dict.fromkeys(layers, 0.0)
    for start in range(0, len(data.test), CHUNK):
        chunk = data.test[start : start + CHUNK]
        theirs, ours = (activations_of(session, layers, chunk.pixels) for session in (variant, model))
        for name in layers:
            deviations[name] = max(deviations[name], deviation(theirs[name], ours[name]))
        found, before = (activations[layers[-1]].argmax(axis=1) for activations in (theirs, ours))
        wrong, changed = wrong + int((found != chunk.labels).sum()), changed + int((found != before).sum())
    return wrong / len(data.test), changed, deviations


def activations_of(session: Any, layers: list[str], pixels: Images) -> dict[str, npt.NDArray[np.float32]]:
    """Every layer's activations: float32 (N, width) each."""
    values = session.run(layers, {"pixels": pixels})
    return {name: found.astype(np.float32) for name, found in zip(layers, values, strict=True)}


def described_machine() -> dict[str, Any]:
    """The machine, with the CPU's features where Linux tells them."""
    cpuinfo = Path("/proc/cpuinfo")
    known = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    return machine("onnxruntime") | {"cpu_features": [feature for feature in CPU_FEATURES if feature in known]}


def as_object(found: Mapping[str, Variant]) -> str:
    """All measurements, as one JSON object."""
    return json.dumps(
        {"machine": described_machine(), "variants": {name: asdict(variant) for name, variant in found.items()}}
    )


def as_table(found: Mapping[str, Variant]) -> str:
    """A row for each variant, then each layer's deviation."""
    lines = [f"{name}: {value}" for name, value in described_machine().items()]
    for name, variant in found.items():
        times = ", ".join(f"batch {batch} {figure.text(1)} µs" for batch, figure in variant.microseconds.items())
        lines.append(
            f"{name:<15} {variant.size / 1e6:6.2f} MB   {times}   error {variant.error:.2%}, {variant.changed} changed"
        )
    lines.append("deviation by layer")
    for name, variant in found.items():
        deviations = "  ".join(f"{layer} {value:.1e}" for layer, value in variant.deviations.items())
        lines.append(f"{name:<15} {deviations}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
