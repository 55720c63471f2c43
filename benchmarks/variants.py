"""Whether an artifact in float16 or int8 pays: its size, its speed, its error, and how far its activations move.

    python benchmarks/variants.py MODEL.onnx [--dataset mnist] [--json]

The variants are made in a temporary folder and thrown away. None of them is an artifact: a server checks that the graph
is the one that the metadata describe and that activations are PyTorch's to within 1e-4, and refuses them.

How to read it: a variant pays where it is faster at the batch that one serves, or where size is what one is short of,
and its error stays within the float32 model's own spread from seed to seed (an error of 0.5 % of 10,000 images is known
to about 7 images). For one image at a time every weight is read once, so what counts is how many bytes they are, if the
products take them as they are: float16 that is cast back to float32 saves a file's size and nothing else. For many
images at a time it is the products themselves, and what int8 spends on turning each layer's activations into bytes and
back. The deviation says what it costs those who look inside: what an activation is wrong by at most, relative to the
layer's largest (or to 1, where that is smaller).
"""

import json
import logging
import platform
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

from benchmarks.harness.summary import Summary
from vitrine.model import ArtifactMetadata, deviation
from vitrine.training import Dataset, load_dataset
from vitrine.training.network.runtime import onnxruntime

BATCHES = (1, 64)
"""Images at a time."""

CALIBRATED_WITH = 2000
"""Training images by which static quantization finds the range of each layer."""

CHUNK = 1000
"""Images that are compared at a time: bounds the memory."""

WARM_UP = 10
"""Runs that come before those that are timed."""

MICROSECONDS = 1e6

CPU_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_fp16", "amx_int8", "asimddp", "fphp")
"""What decides how fast small numbers are, as Linux names it."""

Images = npt.NDArray[np.uint8]
Make = Callable[[onnx.ModelProto, Path, Images], None]
"""Makes a variant: of a model, at a path, with images to calibrate it by, uint8 (N, 18, 18)."""


@dataclass(frozen=True)
class Variant:
    """What one variant is like."""

    size: int
    """Bytes of the file."""
    microseconds: dict[int, Summary]
    """By images at a time: a run, one thread; the medians of the rounds."""
    error: float
    """The share of the test part that is misclassified, 0 to 1."""
    changed: int
    """Test images that are taken for another digit than by the model itself."""
    deviations: dict[str, float]
    """By layer: how far the activations are from the model's at most, over the test part."""


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--dataset", default="mnist", show_default=True, help="Calibrated by its training part, and tested by it."
)
@click.option("--rounds", default=7, show_default=True, help="How often each variant is timed, in turns.")
@click.option("--seconds", default=0.5, show_default=True, help="How long each timing takes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object in place of a table.")
def main(model: Path, dataset: str, rounds: int, seconds: float, as_json: bool) -> None:
    """Make variants of the artifact MODEL, measure them beside it, and print what was found."""
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
    click.echo(as_one_object(found) if as_json else as_table(found))


def make_variants(model: Path, data: Dataset, folder: Path) -> dict[str, Path]:
    """The files of all variants by name, the model itself first."""
    original = onnx.load(model)
    spread = np.linspace(0, len(data.train) - 1, min(CALIBRATED_WITH, len(data.train))).astype(np.int64)
    files = {"float32": model}
    for name, make in MAKERS.items():
        files[name] = folder / f"{name.replace(' ', '_')}.onnx"
        make(onnx.ModelProto.FromString(original.SerializeToString()), files[name], data.train.pixels[spread])
    return files


def store_float16(model: onnx.ModelProto, path: Path, _images: Images) -> None:
    """Parameters that are stored as float16 and calculated with as float32: a session casts them once, at first."""
    graph = model.graph
    for tensor in [each for each in graph.initializer if each.data_type == TensorProto.FLOAT]:
        name = tensor.name
        graph.node.insert(0, helper.make_node("Cast", [f"{name}.float16"], [name], to=TensorProto.FLOAT))
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}.float16"))
    onnx.save(model, path)


def calculate_float16(model: onnx.ModelProto, path: Path, _images: Images) -> None:
    """Everything in float16; where a CPU has no such operator, the session casts to float32 and back around it."""
    graph = model.graph
    for tensor in [each for each in graph.initializer if each.data_type == TensorProto.FLOAT]:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for attribute in (each for node in graph.node if node.op_type == "Cast" for each in node.attribute):
        attribute.i = TensorProto.FLOAT16
    for output in graph.output:
        output.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, path)


def quantize_dynamically(model: onnx.ModelProto, path: Path, _images: Images) -> None:
    """Weights in int8, a scale for each output unit; activations become bytes anew for every batch."""
    from onnxruntime import quantization  # here, and not before `runtime` has switched the telemetry off

    with quiet():
        quantization.quantize_dynamic(model, path, per_channel=True)


def quantize_statically(model: onnx.ModelProto, path: Path, images: Images) -> None:
    """Weights in int8, a scale for each output unit; activations in bytes, their ranges those of training images."""
    from onnxruntime import quantization

    with quiet():
        quantization.quantize_static(
            model,
            path,
            Batches(images),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            op_types_to_quantize=["Gemm"],  # with Relu, too, a linear layer loses what is below 0, and it is an output
        )


MAKERS: Mapping[str, Make] = {
    "float16 stored": store_float16,
    "float16": calculate_float16,
    "int8 dynamic": quantize_dynamically,
    "int8 static": quantize_statically,
}
"""By name: what makes the variants."""


class Batches:
    """Images to calibrate by, as `quantize_static` asks for them: a batch at a time, and None at the end."""

    def __init__(self, images: Images) -> None:
        self._batches: Iterator[Images] = iter(np.array_split(images, -(-len(images) // CHUNK)))

    def get_next(self) -> dict[str, Images] | None:
        """The next batch."""
        batch = next(self._batches, None)
        return None if batch is None else {"pixels": batch}


@contextmanager
def quiet() -> Iterator[None]:
    """Without the advice, meant for larger graphs, that the quantizer logs as warnings."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def open_session(path: Path) -> Any:
    """A session as the server has it for one worker: one thread, that doesn't spin."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def measure_times(
    sessions: Mapping[str, Any], output: str, pixels: Images, rounds: int, seconds: float
) -> dict[str, dict[int, Summary]]:
    """How long a run takes, in microseconds, by variant and batch; each variant comes first as often as last."""
    found: dict[str, dict[int, list[float]]] = {name: {batch: [] for batch in BATCHES} for name in sessions}
    for batch in BATCHES:
        images = np.resize(pixels, (batch, *pixels.shape[1:]))
        for turn in range(rounds):
            for name in list(sessions)[:: -1 if turn % 2 else 1]:
                found[name][batch].append(median_time(sessions[name], output, images, seconds))
    return {name: {batch: Summary.of(times) for batch, times in each.items()} for name, each in found.items()}


def median_time(session: Any, output: str, images: Images, seconds: float) -> float:
    """The median of the runs in some seconds, after a few that don't count; only the output layer is asked for."""
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
    """The names of the model's layers, as its metadata have them."""
    metadata = ArtifactMetadata.from_properties(model.get_modelmeta().custom_metadata_map)
    return [layer.name for layer in metadata.layers]


def compare(variant: Any, model: Any, layers: list[str], data: Dataset) -> tuple[float, int, dict[str, float]]:
    """A variant's error on the test part, how many images it takes for another digit, and each layer's deviation."""
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
    """Every layer's activations, as float32."""
    values = session.run(layers, {"pixels": pixels})
    return {name: found.astype(np.float32) for name, found in zip(layers, values, strict=True)}


def machine() -> dict[str, Any]:
    """What it was measured on; the features of the CPU only where Linux tells them."""
    told = Path("/proc/cpuinfo")
    known = set(told.read_text().split()) if told.exists() else set()
    return {
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "cpu": [feature for feature in CPU_FEATURES if feature in known],
    }


def as_one_object(found: Mapping[str, Variant]) -> str:
    """What was measured, as JSON."""
    return json.dumps({"machine": machine(), "variants": {name: asdict(variant) for name, variant in found.items()}})


def as_table(found: Mapping[str, Variant]) -> str:
    """The same for people: a row for each variant, and the deviation of the layer that is farthest off."""
    lines = [f"{name}: {told}" for name, told in machine().items()]
    for name, variant in found.items():
        times = ", ".join(f"batch {batch} {figure.text(1)} µs" for batch, figure in variant.microseconds.items())
        lines.append(
            f"{name:<15} {variant.size / 1e6:6.2f} MB   {times}   error {variant.error:.2%}, {variant.changed} changed"
        )
    lines.append("deviation by layer")
    for name, variant in found.items():
        told_of = "  ".join(f"{layer} {value:.1e}" for layer, value in variant.deviations.items())
        lines.append(f"{name:<15} {told_of}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
