"""Builds requests and reads answers: the pure functions between the client's types and the messages on the wire.

Both clients share it. It knows protobuf and no channel: nothing here sends, waits or retries.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from PIL import Image

from vitrine.client.errors import AnswerError, UsageError
from vitrine.client.types import (
    Activations,
    Floats,
    Health,
    Limits,
    Model,
    ModelIdentity,
    ModelSummary,
    Parameters,
    Prediction,
)
from vitrine.model import PIXELS_SHAPE, ImageError, ImageSource, Layer, LayerKind, TrainingFacts, prepare
from vitrine.v1 import classifier_pb2 as pb

Preparation: TypeAlias = Literal["local", "server", "none"]
"""Where an image becomes pixels: here, at the server, or nowhere, because it already is pixels."""

Wanted: TypeAlias = str | Iterable[str] | None
"""The layers whose activations are wanted: "all", one name, several names, or None."""

Payload: TypeAlias = bytes
"""One image as it is sent: its pixels row by row (324 bytes), or a whole image file."""

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
"""The path of the health service's one call; its generated stub has no types."""

SERVICE = pb.DESCRIPTOR.services_by_name["ClassifierService"]
"""What the .proto says of the service."""

METHODS = {method.input_type.full_name: f"{SERVICE.full_name}/{method.name}" for method in SERVICE.methods}
"""The method that takes each request; no two take the same."""

FLOAT32 = np.dtype("<f4")
"""The wire's float32: little-endian, on every machine."""

KINDS = {
    pb.LAYER_KIND_INPUT: LayerKind.INPUT,
    pb.LAYER_KIND_LINEAR: LayerKind.LINEAR,
    pb.LAYER_KIND_RELU: LayerKind.RELU,
    pb.LAYER_KIND_SOFTMAX: LayerKind.SOFTMAX,
    pb.LAYER_KIND_SIGMOID: LayerKind.SIGMOID,
}
"""The kinds of layer that this client knows."""


def method_of(request: Message) -> str:
    """The full name of the method that takes a request: PACKAGE.SERVICE/METHOD."""
    return METHODS.get(request.DESCRIPTOR.full_name, HEALTH_CHECK.strip("/"))


def check_preparation(preparation: str) -> None:
    """Raises `UsageError` unless it is one of `Preparation`."""
    if preparation not in get_args(Preparation):
        raise UsageError(f'preparation is "local", "server" or "none", not {preparation!r}')


def read_image(image: ImageSource, preparation: Preparation) -> Payload:
    """Makes of an image what is sent of it.

    Raises:
        ImageError: it can't be read, or it isn't of the kind that `preparation` takes.
        UsageError: `preparation` isn't one of the three.
    """
    check_preparation(preparation)
    match preparation:
        case "local":
            return prepare(image).tobytes()
        case "server":
            return _read_file(image)
        case "none":
            return _read_pixels(image)


def _read_file(image: ImageSource) -> bytes:
    if isinstance(image, bytes):
        return image
    if not isinstance(image, (str, os.PathLike)):
        raise ImageError(
            "IMAGE_UNSUPPORTED",
            f'preparation="server" takes a path or the bytes of a file, not {type(image).__name__}: '
            'use preparation="local"',
        )
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise ImageError("IMAGE_NOT_FOUND", f"can't read {image}: {error.strerror}") from error


def _read_pixels(image: ImageSource) -> bytes:
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape == PIXELS_SHAPE:
        return image.tobytes()
    found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    raise ImageError(
        "IMAGE_UNSUPPORTED",
        f'preparation="none" takes pixels, a uint8 array {PIXELS_SHAPE}, 0 = white and 255 = black, not {found}',
    )


def check_images(images: object) -> None:
    """Raises `UsageError` where one image was given for many: a path would be read letter by letter."""
    if isinstance(images, np.ndarray):
        _check_image_array(images)
    if isinstance(images, (str, bytes, os.PathLike, Image.Image)):
        raise UsageError(f"classify_many takes an iterable of images, not one {type(images).__name__}: use classify")


def _check_image_array(images: npt.NDArray[Any]) -> None:
    """An array may hold images, or (any number of axes) their paths; the pixels of a single image aren't many."""
    is_paths = images.dtype.kind in "OU"
    is_colour = images.ndim == 3 and images.shape[-1] in (3, 4)  # (H, W, 3): its rows would pass for images
    if not is_paths and (images.ndim < 3 or is_colour):
        raise UsageError(
            f"classify_many takes an array (N, H, W), (N, H, W, 3) or (N, H, W, 4), not {images.shape}: "
            "for one image, use classify"
        )


def build_selection(activations: Wanted) -> pb.LayerSelection | None:
    """The layers that are wanted; None when none are."""
    if activations == "all":
        return pb.LayerSelection(all=True)
    names = [activations] if isinstance(activations, str) else list(activations or ())
    return pb.LayerSelection(names=names) if names else None


def build_request(
    payloads: Sequence[Payload], selection: pb.LayerSelection | None, model: str, preparation: Preparation
) -> pb.ClassifyRequest:
    """The request that classifies some images, at least one."""
    if preparation == "server":
        files = pb.EncodedImages(files=payloads)
        return pb.ClassifyRequest(model=model, encoded=files, activations=selection)
    shape = (len(payloads), *PIXELS_SHAPE)
    pixels = pb.Tensor(name="pixels", shape=shape, dtype=pb.DATA_TYPE_UINT8, data=b"".join(payloads))
    return pb.ClassifyRequest(model=model, pixels=pixels, activations=selection)


def image_count(request: pb.ClassifyRequest) -> int:
    """How many images a request holds."""
    return request.pixels.shape[0] if request.HasField("pixels") else len(request.encoded.files)


def read_predictions(response: pb.ClassifyResponse, count: int) -> list[Prediction]:
    """One prediction for each of `count` images, their arrays being rows of the answer's.

    Raises:
        AnswerError: the answer isn't for `count` images, or can't be read.
    """
    identity = read_identity(response.model)
    probabilities = _read_rows(response.probabilities, count)  # (N, classes)
    layers = {tensor.name: _read_rows(tensor, count) for tensor in response.activations}  # (N, width) each
    if len(response.digits) != count:
        raise AnswerError(f"the server sent {len(response.digits)} digits for {count} images")
    judgements = _read_judgements(response, count)
    return [
        Prediction(
            digit,
            probabilities[i],
            Activations({name: rows[i] for name, rows in layers.items()}),
            identity,
            *judgements[i],
        )
        for i, digit in enumerate(response.digits)
    ]


def _read_judgements(response: pb.ClassifyResponse, count: int) -> Sequence[tuple[float | None, bool | None]]:
    """Each image's novelty and whether it is a digit; None where the model, or an older server, can't tell."""
    novelties, are_digits = response.novelties, response.are_digits
    if not novelties and not are_digits:
        return [(None, None)] * count
    if not len(novelties) == len(are_digits) == count:
        sent = f"{len(novelties)} novelties and {len(are_digits)} judgements of them"
        raise AnswerError(f"the server sent {sent} for {count} images")
    return list(zip(novelties, are_digits, strict=True))


def _read_rows(tensor: pb.Tensor, count: int) -> Floats:
    if len(tensor.shape) != 2 or tensor.shape[0] != count:
        raise AnswerError(f"the server sent {tensor.name!r} of shape {list(tensor.shape)} for {count} images")
    return read_floats(tensor)


def read_floats(tensor: pb.Tensor) -> Floats:
    """The array of a tensor, a read-only view on its bytes.

    Raises:
        AnswerError: it isn't float32, or its bytes don't fill its shape.
    """
    if tensor.dtype != pb.DATA_TYPE_FLOAT32:
        raise AnswerError(f"the server sent {tensor.name!r} as something else than float32")
    try:
        values: npt.NDArray[np.float32] = np.frombuffer(tensor.data, FLOAT32).reshape(tuple(tensor.shape))
    except ValueError as error:
        raise AnswerError(f"the bytes of {tensor.name!r} don't fill its shape {list(tensor.shape)}") from error
    return values


def read_identity(identity: pb.ModelIdentity) -> ModelIdentity:
    """Who answered."""
    return ModelIdentity(identity.name, identity.version, identity.provider)


def read_summaries(response: pb.ListModelsResponse) -> tuple[ModelSummary, ...]:
    """The models that are served, or should be."""
    return tuple(map(_read_summary, response.models))


def _read_summary(entry: pb.ModelSummary) -> ModelSummary:
    known = entry.state in pb.ModelState.values()
    state = pb.ModelState.Name(entry.state).removeprefix("MODEL_STATE_") if known else "UNKNOWN"  # a newer server's
    who = entry.identity
    return ModelSummary(who.name, who.version, who.provider, entry.default, state, entry.reason)


def read_model(response: pb.GetModelResponse) -> Model:
    """The description of a model.

    Raises:
        AnswerError: it has layers of a kind that this client doesn't know.
    """
    model = response.model
    return Model(
        name=model.identity.name,
        version=model.identity.version,
        provider=model.identity.provider,
        layers=tuple(map(_read_layer, model.layers)),
        classes=tuple(model.classes),
        limits=Limits(model.limits.max_images, model.limits.max_message_bytes, model.limits.max_image_pixels),
        training=_read_training(model.training),
        novelty_threshold=model.novelty_threshold if model.HasField("novelty_threshold") else None,
    )


def _read_layer(layer: pb.Layer) -> Layer:
    if layer.kind not in KINDS:
        raise AnswerError(f"layer {layer.name!r} is of a kind that this client doesn't know: install a newer vitrine")
    reads = (layer.reads,) if layer.reads else ()
    return Layer(layer.name, KINDS[layer.kind], (layer.width,), layer.parameter_count, reads)


def _read_training(facts: pb.TrainingFacts) -> TrainingFacts:
    return TrainingFacts(facts.dataset, facts.seed, facts.epochs, dict(facts.metrics), dict(facts.versions))


def read_parameters(response: pb.GetParametersResponse, layer: str) -> Parameters:
    """What a layer stores.

    Raises:
        AnswerError: the arrays can't be read.
    """
    weight, bias = read_floats(response.weight), read_floats(response.bias)
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise AnswerError(f"the server sent a weight {weight.shape} with a bias {bias.shape}")
    return Parameters(layer, weight, bias, read_identity(response.model))


def read_health(response: health_pb2.HealthCheckResponse) -> Health:
    """How the server says it is."""
    status = response.ServingStatus.Name(response.status)
    return Health(status == "SERVING", status)
