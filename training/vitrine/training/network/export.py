"""Writes the artifact: one ONNX file with every layer and the novelty as outputs, its metadata, and a golden sample.

The graph is built node by node, so that its tensors carry the layers' names and nothing else is in it. What stands at
its place has been checked: by ONNX's own checker, and against PyTorch, layer by layer, through ONNX Runtime.
"""

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from vitrine.model import (
    DIGITS,
    NOVELTY,
    PIXELS_SHAPE,
    ActivationStatistics,
    ActivationTally,
    ArtifactError,
    ArtifactMetadata,
    GoldenSample,
    Layer,
    LayerKind,
    TrainingFacts,
    deviations,
)
from vitrine.training.files.atomic import publish
from vitrine.training.network.mlp import MLP, novelty_of
from vitrine.training.network.runtime import onnxruntime

OPSET = 18
"""The version of ONNX's operators: old enough for every ONNX Runtime that is supported."""

IR_VERSION = 10
"""The version of ONNX's file format, likewise."""

EXPORT_TOLERANCE = 1e-5
"""The largest deviation between PyTorch and ONNX Runtime that is exported."""

CHECKED_BATCHES = (1, 2, 7, 64)
"""The batch sizes at which the file is compared with PyTorch: kernels differ by size."""

GOLDEN_COUNT = 4
"""How many images the golden sample has."""

COUNTED_BATCH = 256
"""How many images' activations are in memory at once while they are counted."""

INLINE_LIMIT = 1 << 30
"""The number of bytes of parameters above which they lie beside the ONNX file: protobuf ends at 2 GiB."""


def export(
    mlp: MLP,
    path: Path,
    *,
    name: str,
    facts: TrainingFacts,
    pixels: npt.NDArray[np.uint8],
    inline_limit: int = INLINE_LIMIT,
    novelty_threshold: float | None = None,
) -> ArtifactMetadata:
    """Writes `mlp` to `path` as an artifact, and checks what was written.

    Args:
        mlp: the network; it is read on the CPU.
        path: the .onnx file. Parameters above `inline_limit` bytes go to `path` + ".data".
        name: what the model is called when it is served.
        facts: how it was trained.
        pixels: uint8 (N, 18, 18), some examples: the golden sample and the checks are made of them, and the
            statistics of the activations over all of them.
        inline_limit: the number of bytes of parameters that stay inside the file.
        novelty_threshold: the largest novelty that is still a digit's; None leaves the output `NOVELTY` out.

    Returns:
        What the artifact says of itself.

    Raises:
        ArtifactError: an output deviates from PyTorch by more than `EXPORT_TOLERANCE`; what was at `path` stays.
    """
    mlp = mlp.to("cpu").eval()
    novelty = novelty_threshold is not None
    metadata = ArtifactMetadata(
        name,
        mlp.layers,
        DIGITS,
        facts,
        golden=_golden_sample(mlp, pixels[:GOLDEN_COUNT], novelty),
        statistics=_statistics(mlp, pixels),
        novelty_threshold=novelty_threshold,
    )
    model = _build_model(mlp, novelty)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        written = Path(folder, path.name)
        metadata = _write(model, metadata, written, inline_limit)
        onnx.checker.check_model(str(written), full_check=True)  # the file: in memory its limit is 2 GiB
        _check_against_pytorch(mlp, written, pixels, novelty)
        _publish(written, path)
    return metadata


def data_path(path: Path) -> Path:
    """Where the parameters of an artifact lie that are too large for the ONNX file at `path`."""
    return path.with_name(path.name + ".data")


def compute_activations(mlp: MLP, pixels: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
    """Every layer's activations as PyTorch computes them: uint8 (N, 18, 18) to float32 (N, width) by name."""
    with torch.inference_mode():
        return {layer: values.numpy() for layer, values in mlp.activations(torch.tensor(pixels)).items()}


def compute_novelty(mlp: MLP, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """How unlike a digit each image is, as PyTorch computes it: uint8 (N, 18, 18) to float32 (N,); see `NOVELTY`."""
    with torch.inference_mode():
        novelty: npt.NDArray[np.float32] = novelty_of(mlp(torch.tensor(pixels))).numpy()
    return novelty


def _golden_sample(mlp: MLP, pixels: npt.NDArray[np.uint8], novelty: bool) -> GoldenSample:
    return GoldenSample(
        pixels, compute_activations(mlp, pixels), novelty=compute_novelty(mlp, pixels) if novelty else None
    )


def _statistics(mlp: MLP, pixels: npt.NDArray[np.uint8]) -> ActivationStatistics:
    """What the activations are like over these images; a batch at a time, for a layer can be wide."""
    tally = ActivationTally(mlp.layers)
    for start in range(0, len(pixels), COUNTED_BATCH):
        tally.add(compute_activations(mlp, pixels[start : start + COUNTED_BATCH]))
    return tally.statistics()


def _build_model(mlp: MLP, novelty: bool) -> onnx.ModelProto:
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", *PIXELS_SHAPE])
    outputs = [helper.make_tensor_value_info(layer.name, TensorProto.FLOAT, ["N", layer.width]) for layer in mlp.layers]
    parameters = {f"linears.{name}": value.detach().numpy() for name, value in mlp.linears.named_parameters()}
    initializers = [numpy_helper.from_array(value, name.removeprefix("linears.")) for name, value in parameters.items()]
    white_to_black = numpy_helper.from_array(np.array(255, np.float32), "full_scale")
    nodes = [node for layer in mlp.layers for node in _nodes(layer)]
    graph = helper.make_graph(nodes, "vitrine", [pixels], outputs, [white_to_black, *initializers])
    if novelty:
        _add_novelty(graph, logits=mlp.layers[-1].reads)
    return helper.make_model(
        graph,
        producer_name="vitrine",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )


def _nodes(layer: Layer) -> list[onnx.NodeProto]:
    """The operators that calculate one layer; the last one's output carries the layer's name."""
    name, reads = layer.name, layer.reads
    match layer.kind:
        case LayerKind.INPUT:
            return [
                helper.make_node("Cast", ["pixels"], ["pixels_float32"], to=TensorProto.FLOAT),
                helper.make_node("Div", ["pixels_float32", "full_scale"], ["pixels_scaled"]),
                helper.make_node("Flatten", ["pixels_scaled"], [name], axis=1),
            ]
        case LayerKind.LINEAR:
            return [helper.make_node("Gemm", [reads, f"{name}.weight", f"{name}.bias"], [name], name, transB=1)]
        case LayerKind.RELU:
            return [helper.make_node("Relu", [reads], [name], name)]
        case LayerKind.SOFTMAX:
            return [helper.make_node("Softmax", [reads], [name], name, axis=1)]
        case LayerKind.SIGMOID:
            return [helper.make_node("Sigmoid", [reads], [name], name)]


def _add_novelty(graph: onnx.GraphProto, logits: str) -> None:
    """One more output: what `novelty_of` calculates. It is no layer: it has no width, and nothing reads it."""
    graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "class_axis"))
    graph.node.append(helper.make_node("ReduceLogSumExp", [logits, "class_axis"], ["log_sum_exp"], keepdims=0))
    graph.node.append(helper.make_node("Neg", ["log_sum_exp"], [NOVELTY]))
    graph.output.append(helper.make_tensor_value_info(NOVELTY, TensorProto.FLOAT, ["N"]))


def _write(model: onnx.ModelProto, metadata: ArtifactMetadata, path: Path, inline_limit: int) -> ArtifactMetadata:
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) > inline_limit:
        data = data_path(path)
        onnx.external_data_helper.convert_model_to_external_data(model, location=data.name)
        onnx.external_data_helper.write_external_data_tensors(model, str(path.parent))
        with data.open("rb") as file:
            metadata = replace(metadata, data_sha256=hashlib.file_digest(file, "sha256").hexdigest())
    helper.set_model_props(model, metadata.to_properties())
    path.write_bytes(model.SerializeToString())
    return metadata


def _publish(written: Path, path: Path) -> None:
    """Moves what was checked to where it belongs; an ONNX file that reads data is never there without them."""
    inline = not data_path(written).exists()
    if not inline:
        publish(data_path(written), data_path(path))
    publish(written, path)
    if inline:
        data_path(path).unlink(missing_ok=True)


def _check_against_pytorch(mlp: MLP, path: Path, pixels: npt.NDArray[np.uint8], novelty: bool) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # as it is served; more threads would only wait for each other
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for batch in CHECKED_BATCHES:
        examples = np.resize(pixels, (batch, *PIXELS_SHAPE))  # repeats them where there are fewer
        expected = compute_activations(mlp, examples) | ({NOVELTY: compute_novelty(mlp, examples)} if novelty else {})
        computed = dict(zip(expected, session.run(list(expected), {"pixels": examples}), strict=True))
        for name, difference in deviations(computed, expected).items():
            if not difference <= EXPORT_TOLERANCE:
                raise ArtifactError(f"{name} deviates from PyTorch by more than {EXPORT_TOLERANCE} at batch {batch}")
