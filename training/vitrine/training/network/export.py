"""Writes the artifact: one ONNX file with every layer and the novelty as outputs, its metadata, and a golden sample.

The graph is built from the table of kinds, so that its tensors have the layers' names and nothing else is in it. A file
is published after two checks: by ONNX's own checker, and against PyTorch, layer by layer, through ONNX Runtime.
"""

from collections.abc import Container
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from vitrine.model import (
    DIGITS,
    DIGITS_INPUT,
    NOVELTY,
    ActivationStatistics,
    ActivationTally,
    ArtifactError,
    ArtifactMetadata,
    ClassificationTask,
    GoldenSample,
    Shape,
    TrainingFacts,
    deviations,
)
from vitrine.model.graph import (
    CLASS_AXIS,
    CONSTANTS,
    FULL_SCALE,
    INPUT,
    Operator,
    layer_operators,
    novelty_operators,
)
from vitrine.training.network.artifact_file import INLINE_LIMIT, open_session, publish_artifact
from vitrine.training.network.mlp import MLP, novelty_of

OPSET = 18
"""The version of ONNX's operators: old enough for every ONNX Runtime that is supported."""

IR_VERSION = 10
"""The version of ONNX's file format; as old as possible for the same reason."""

EXPORT_TOLERANCE = 1e-5
"""The largest deviation between PyTorch and ONNX Runtime that is exported."""

CHECKED_BATCHES = (1, 2, 7, 64)
"""The batch sizes at which the file is compared with PyTorch: kernels differ by size."""

GOLDEN_COUNT = 4
"""Images in the golden sample."""

COUNTED_BATCH = 256
"""Images whose activations are in memory at the same time while they are counted."""


def export(
    mlp: MLP,
    path: Path,
    *,
    name: str,
    facts: TrainingFacts,
    pixels: npt.NDArray[np.uint8],
    classes: tuple[str, ...] = DIGITS,
    inline_limit: int = INLINE_LIMIT,
    novelty_threshold: float | None = None,
) -> ArtifactMetadata:
    """Writes `mlp` to `path` as an artifact, and checks what was written.

    Args:
        mlp: the network; it is read on the CPU.
        path: the .onnx file. Parameters above `inline_limit` bytes go to `path` + ".data".
        name: the name that the model is served under.
        facts: how it was trained.
        pixels: uint8 (N, height, width), some examples: the golden sample and the checks are made of the first ones,
            the statistics of the activations of all.
        classes: the label of every class, in the order of the output layer's activations.
        inline_limit: bytes of parameters up to which they are stored inside the file.
        novelty_threshold: the largest novelty of an image like the examples; None leaves the output `NOVELTY` out.

    Returns:
        The artifact's metadata.

    Raises:
        ArtifactError: an output deviates from PyTorch by more than `EXPORT_TOLERANCE`; what was at `path` stays.
    """
    mlp = mlp.to("cpu").eval()
    novelty = novelty_threshold is not None
    metadata = ArtifactMetadata(
        name,
        replace(DIGITS_INPUT, shape=mlp.shape),
        ClassificationTask(classes),
        mlp.layers,
        facts,
        golden=_golden_sample(mlp, pixels[:GOLDEN_COUNT], novelty),
        statistics=_statistics(mlp, pixels),
        novelty_threshold=novelty_threshold,
    )

    def check(written: Path) -> None:
        _check_against_pytorch(mlp, written, pixels, novelty)

    return publish_artifact(_build_model(mlp, metadata), metadata, path, inline_limit, check)


def compute_activations(mlp: MLP, pixels: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
    """Every layer's activations as PyTorch computes them: uint8 (N, height, width) to float32 (N, *shape) by name."""
    with torch.inference_mode():
        return {layer: values.numpy() for layer, values in mlp.activations(torch.tensor(pixels)).items()}


def compute_novelty(mlp: MLP, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The novelty as PyTorch computes it: uint8 (N, height, width) to float32 (N,); see `NOVELTY`."""
    with torch.inference_mode():
        novelty: npt.NDArray[np.float32] = novelty_of(mlp(torch.tensor(pixels))).numpy()
    return novelty


def _golden_sample(mlp: MLP, pixels: npt.NDArray[np.uint8], novelty: bool) -> GoldenSample:
    return GoldenSample(
        pixels, compute_activations(mlp, pixels), novelty=compute_novelty(mlp, pixels) if novelty else None
    )


def _statistics(mlp: MLP, pixels: npt.NDArray[np.uint8]) -> ActivationStatistics:
    """Statistics of the activations over these images; a batch at a time, because layers can be wide."""
    tally = ActivationTally(mlp.layers)
    for start in range(0, len(pixels), COUNTED_BATCH):
        tally.add(compute_activations(mlp, pixels[start : start + COUNTED_BATCH]))
    return tally.statistics()


def _build_model(mlp: MLP, metadata: ArtifactMetadata) -> onnx.ModelProto:
    """The graph of the catalogue, node by node from the table of kinds."""
    operators, outputs = layer_operators(mlp.layers), [_output(layer.name, layer.shape) for layer in mlp.layers]
    stored: dict[str, npt.NDArray[Any]] = {FULL_SCALE: CONSTANTS[FULL_SCALE], **stored_parameters(mlp)}
    if metadata.novelty_threshold is not None:
        operators += novelty_operators(*mlp.layers[-1].reads)
        outputs.append(_output(NOVELTY, ()))
        stored[CLASS_AXIS] = CONSTANTS[CLASS_AXIS]
    pixels = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", *metadata.input.shape])
    initializers = [numpy_helper.from_array(values, name) for name, values in stored.items()]
    named = {layer.name for layer in mlp.layers if layer.reads}
    nodes = [_node(operator, named) for operator in operators]
    graph = helper.make_graph(nodes, "vitrine", [pixels], outputs, initializers)
    return helper.make_model(
        graph,
        producer_name="vitrine",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )


def stored_parameters(mlp: MLP) -> dict[str, npt.NDArray[np.float32]]:
    """The tensors that a network stores, by their names in the graph."""
    return {name: value.detach().numpy() for name, value in mlp.linears.named_parameters()}


def _node(operator: Operator, named: Container[str]) -> onnx.NodeProto:
    """The node of an operator; one that gives a layer of `named` has the layer's name, for profilers and viewers."""
    (output,) = operator.outputs
    attributes: dict[str, Any] = dict(operator.attributes)
    name = output if output in named else None
    return helper.make_node(operator.type, operator.inputs, operator.outputs, name, **attributes)


def _output(name: str, shape: Shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])


def _check_against_pytorch(mlp: MLP, path: Path, pixels: npt.NDArray[np.uint8], novelty: bool) -> None:
    session = open_session(path)
    (logits,) = mlp.layers[-1].reads
    for batch in CHECKED_BATCHES:
        examples = np.resize(pixels, (batch, *mlp.shape))  # repeats them where there are fewer
        expected = compute_activations(mlp, examples) | ({NOVELTY: compute_novelty(mlp, examples)} if novelty else {})
        computed = dict(zip(expected, session.run(list(expected), {INPUT: examples}), strict=True))
        for name, difference in deviations(computed, expected, logits).items():
            if not difference <= EXPORT_TOLERANCE:
                raise ArtifactError(f"{name} deviates from PyTorch by more than {EXPORT_TOLERANCE} at batch {batch}")
