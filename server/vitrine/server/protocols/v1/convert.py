"""Translates between the wire's messages and the service's plain data, both ways.

It checks the errors of the wire alone: dtypes, shapes and byte counts. The service knows the meaning of a request.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vitrine.model import Layer, LayerKind, ModelInput, TrainingFacts
from vitrine.model.preparation.step import DESCRIPTIONS
from vitrine.server.errors import InvalidRequest
from vitrine.server.inference.config import Limits
from vitrine.server.inference.requests import (
    Classification,
    ClassifyRequest,
    Interventions,
    LayerSelection,
    ParameterRows,
    ShownPreparation,
)
from vitrine.server.models.snapshot import Entry, EntryState, ServedModel
from vitrine.server.protocols.templates import set_fields
from vitrine.v1 import classifier_pb2 as pb

KINDS = {kind: pb.LayerKind.Value(f"LAYER_KIND_{kind.name}") for kind in LayerKind}
"""The wire's value for every kind of layer."""

STATES = {
    EntryState.AVAILABLE: pb.MODEL_STATE_AVAILABLE,
    EntryState.KEPT: pb.MODEL_STATE_AVAILABLE,
    EntryState.FAILED: pb.MODEL_STATE_FAILED,
}
"""The states of a version, as the wire calls them: a version that is kept answers."""

MAX_NAMES = 1024
"""The largest number of layers' names in a request: more than any model has layers, and few enough to look through."""

MAX_AXES = 8
"""Number of axes of a wrong shape that an error repeats."""


class ClassifyFacts(NamedTuple):
    """A request to classify, without its pixels."""

    model: str
    """The name of the model."""
    shape: tuple[int, ...]
    """The shape of the pixels, which their number fits."""
    activations: LayerSelection
    """The wanted layers."""


class KnownClassify(NamedTuple):
    """A request that was recognised by its bytes."""

    model: str
    """The name of the model."""
    shape: tuple[int, ...]
    """The shape of the pixels."""
    activations: LayerSelection
    """The wanted layers."""
    pixels: npt.NDArray[np.uint8]
    """uint8 (n,): all pixels, a view of the request's bytes."""


SIMPLE = {"model", "pixels", "activations"}
"""The fields of a request that holds pixels and nothing unusual."""

SIMPLE_TENSOR, SIMPLE_SELECTION = {"name", "shape", "dtype", "data"}, {"all", "names"}
"""The fields inside these."""


def simple_facts(message: pb.ClassifyRequest) -> ClassifyFacts | None:
    """What there is to know about a request beside its pixels; None for one that holds anything else, or is wrong."""
    tensor, selection = message.pixels, message.activations
    shape = tuple(tensor.shape[: MAX_AXES + 1])
    if (
        set_fields(message) <= SIMPLE
        and set_fields(tensor) <= SIMPLE_TENSOR
        and set_fields(selection) <= SIMPLE_SELECTION
        and tensor.dtype == pb.DATA_TYPE_UINT8
        and len(shape) <= MAX_AXES
        and len(tensor.data) == math.prod(shape)
    ):
        return ClassifyFacts(message.model, shape, LayerSelection(selection.all, tuple(selection.names)))
    return None


def read_classify(
    message: "pb.ClassifyRequest | KnownClassify", model: ServedModel, interventions: Interventions | None = None
) -> ClassifyRequest:
    """Reads a request to a model, whose interventions are read already. One that was recognised has none.

    Raises:
        InvalidRequest: its pixels aren't UINT8 [N, …] of the shape of the model's input, their bytes don't match their
            shape, or it names more layers than any model has.
    """
    if isinstance(message, KnownClassify):
        _check_shape(message.shape, model.metadata.input)
        return ClassifyRequest(model, message.pixels.reshape(message.shape), activations=message.activations)
    if len(message.activations.names) > MAX_NAMES:
        count = len(message.activations.names)
        raise InvalidRequest("TOO_MANY_NAMES", f"{count} layers are named: name each once", "activations.names")
    form = message.WhichOneof("images")
    return ClassifyRequest(
        model,
        pixels=read_pixels(message.pixels, model.metadata.input) if form == "pixels" else None,
        files=message.encoded.files if form == "encoded" else None,
        activations=LayerSelection(message.activations.all, tuple(message.activations.names)),
        interventions=interventions,
    )


def read_pixels(tensor: pb.Tensor, expected: ModelInput) -> npt.NDArray[np.uint8]:
    """The tensor's bytes as uint8 (N, *expected.shape), without a copy.

    Raises:
        InvalidRequest: they aren't UINT8 [N, …] of that shape, or the bytes don't match the shape.
    """
    if tensor.dtype != pb.DATA_TYPE_UINT8:
        raise InvalidRequest("WRONG_DTYPE", f"pixels are DATA_TYPE_UINT8, not {_dtype_name(tensor)}", "pixels.dtype")
    shape = tuple(tensor.shape[: MAX_AXES + 1])  # one more than an error repeats shows that there are more
    _check_shape(shape, expected)
    if len(tensor.data) != math.prod(shape):
        message = f"pixels of shape {list(shape)} are {math.prod(shape)} bytes; {len(tensor.data)} came"
        raise InvalidRequest("WRONG_BYTE_COUNT", message, "pixels.data")
    return np.frombuffer(tensor.data, np.uint8).reshape(shape)


def _check_shape(shape: tuple[int, ...], expected: ModelInput) -> None:
    if shape[1:] != expected.shape or shape[0] < 0:
        extents = ", ".join(map(str, expected.shape))
        raise InvalidRequest("WRONG_SHAPE", f"pixels are [N, {extents}], not {_repeated(shape)}", "pixels.shape")


def _repeated(shape: Sequence[int]) -> str:
    """A caller's shape, short enough for an error: a status travels in headers, which are small."""
    return str(list(shape)) if len(shape) <= MAX_AXES else f"[{', '.join(map(str, shape[:MAX_AXES]))}, …]"


def _dtype_name(tensor: pb.Tensor) -> str:
    known = pb.DataType.values()
    return pb.DataType.Name(tensor.dtype) if tensor.dtype in known else f"the unknown type {tensor.dtype}"


def write_classification(answer: Classification) -> pb.ClassifyResponse:
    """Writes an answer."""
    return pb.ClassifyResponse(
        model=write_identity(answer.model),
        digits=answer.digits.tolist(),
        probabilities=write_tensor(answer.model.metadata.layers[-1].name, answer.probabilities),
        activations=[write_tensor(name, values) for name, values in answer.activations.items()],
        novelties=None if answer.novelty is None else answer.novelty.tolist(),
        are_digits=None if answer.is_digit is None else answer.is_digit.tolist(),
        baseline=None if answer.baseline is None else _write_baseline(answer.baseline),
    )


def _write_baseline(answer: Classification) -> pb.Baseline:
    return pb.Baseline(
        digits=answer.digits.tolist(),
        probabilities=write_tensor(answer.model.metadata.layers[-1].name, answer.probabilities),
        activations=[write_tensor(name, values) for name, values in answer.activations.items()],
        novelties=None if answer.novelty is None else answer.novelty.tolist(),
        are_digits=None if answer.is_digit is None else answer.is_digit.tolist(),
    )


def write_parameters(rows: ParameterRows) -> pb.GetParametersResponse:
    """Writes rows of a layer's parameters."""
    return pb.GetParametersResponse(
        model=write_identity(rows.model),
        weight=write_tensor("weight", rows.parameters.weight),
        bias=write_tensor("bias", rows.parameters.bias),
        row_count=rows.row_count,
    )


def write_preparation(shown: ShownPreparation) -> pb.PrepareResponse:
    """Writes the way of an image file to pixels."""
    return pb.PrepareResponse(
        model=write_identity(shown.model),
        pixels=_write_bytes("pixels", shown.pixels[np.newaxis]),
        steps=[
            pb.PreparationStep(
                name=step.name, description=DESCRIPTIONS[step.name], picture=_write_bytes("picture", step.picture)
            )
            for step in shown.steps
        ],
    )


def _write_bytes(name: str, values: npt.NDArray[np.uint8]) -> pb.Tensor:
    return pb.Tensor(name=name, shape=values.shape, dtype=pb.DATA_TYPE_UINT8, data=values.tobytes())


def write_identity(model: ServedModel) -> pb.ModelIdentity:
    """Writes the identity of a model."""
    return pb.ModelIdentity(name=model.name, version=model.version, provider=model.engine.provider, digest=model.digest)


def write_summary(entry: Entry, default: ServedModel) -> pb.ModelSummary:
    """Writes an entry of the list of models."""
    failed = pb.ModelIdentity(name=entry.name, version=entry.version)
    return pb.ModelSummary(
        identity=write_identity(entry.model) if entry.model else failed,
        default=entry.model is default,
        state=STATES[entry.state],
        reason=entry.reason,
    )


def write_model(model: ServedModel, limits: Limits) -> pb.Model:
    """Writes a model's description."""
    given = model.metadata.input
    return pb.Model(
        identity=write_identity(model),
        layers=[_write_layer(layer) for layer in model.metadata.layers],
        pixels_shape=given.shape,
        input=pb.ModelInput(name=given.name, dtype=given.dtype, shape=given.shape, preparation=given.preparation),
        classes=model.metadata.classes,
        limits=pb.Limits(
            max_images=limits.max_images,
            max_message_bytes=limits.max_message_bytes,
            max_image_pixels=limits.max_image_pixels,
        ),
        training=_write_training(model.metadata.training),
        novelty_threshold=model.metadata.novelty_threshold,
    )


def _write_layer(layer: Layer) -> pb.Layer:
    return pb.Layer(
        name=layer.name,
        kind=KINDS[layer.kind],
        width=layer.width,
        parameter_count=layer.parameter_count,
        reads=layer.reads[0] if layer.reads else "",
        shape=layer.shape,
        inputs=layer.reads,
    )


def _write_training(facts: TrainingFacts) -> pb.TrainingFacts:
    return pb.TrainingFacts(
        dataset=facts.dataset, seed=facts.seed, epochs=facts.epochs, metrics=facts.metrics, versions=facts.versions
    )


def write_tensor(name: str, values: npt.NDArray[np.float32] | npt.NDArray[np.uint8]) -> pb.Tensor:
    """Writes an array."""
    if values.dtype == np.uint8:
        return pb.Tensor(name=name, shape=values.shape, dtype=pb.DATA_TYPE_UINT8, data=values.tobytes())
    little_endian = values.astype("<f4", copy=False)
    return pb.Tensor(name=name, shape=values.shape, dtype=pb.DATA_TYPE_FLOAT32, data=little_endian.tobytes())
