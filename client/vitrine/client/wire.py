"""Pure functions between the client's types and the messages on the wire: build requests, read answers.

Both clients share it. It knows protobuf and no channel: nothing here sends, waits or retries.
"""

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import getitem
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from PIL import Image

from vitrine.client.catalogue import Description
from vitrine.client.errors import AnswerError, UsageError
from vitrine.client.interventions import Intervention
from vitrine.client.types import (
    Activations,
    AttributionMethod,
    Explanation,
    Floats,
    Health,
    Limits,
    Model,
    ModelIdentity,
    ModelSummary,
    Parameters,
    Prediction,
)
from vitrine.model import (
    MAX_IMAGE_PIXELS,
    ImageError,
    ImageSource,
    Layer,
    LayerKind,
    ModelInput,
    Shape,
    TrainingFacts,
    prepare,
    read_file,
    read_grey,
)
from vitrine.model.preparation.pipeline import find_box, pixels_of
from vitrine.v1 import classifier_pb2 as pb

Preparation: TypeAlias = Literal["local", "server", "none"]
"""The place where an image becomes pixels: this process, the server, or neither, because it is pixels already."""

PREPARATIONS = get_args(Preparation)
"""All of them."""

Wanted: TypeAlias = str | Iterable[str] | None
"""A choice of layers: "all", one name, several names, or None."""

Payload: TypeAlias = bytes
"""One image in a request: its pixels row by row (324 bytes for digits), or a whole image file."""

INK = "ink"
"""The preparation that this client knows: `vitrine.model.prepare`."""

PIXELS = "pixels"
"""The input's name for servers that don't send it."""

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
"""Path of the health service's one call; its generated stub has no types."""

SERVICE = pb.DESCRIPTOR.services_by_name["ClassifierService"]
"""Descriptor of the service."""

CLASSIFY = f"{SERVICE.full_name}/Classify"
"""Name of the method that classifies."""

METHODS = {method.input_type.full_name: f"{SERVICE.full_name}/{method.name}" for method in SERVICE.methods}
"""Method of each request by the message's name; no two methods take the same message."""

METHODS_OF_ATTRIBUTION = get_args(AttributionMethod)
"""The methods of `Client.explain`."""

SHOWN_LABELS = 25
"""Number of labels in an error."""

UINT8 = np.dtype(np.uint8)
"""Type of pixels."""

FLOAT32 = np.dtype("<f4")
"""The wire's float32: little-endian, on every machine."""

KINDS = {
    pb.LAYER_KIND_INPUT: LayerKind.INPUT,
    pb.LAYER_KIND_LINEAR: LayerKind.LINEAR,
    pb.LAYER_KIND_RELU: LayerKind.RELU,
    pb.LAYER_KIND_SOFTMAX: LayerKind.SOFTMAX,
    pb.LAYER_KIND_SIGMOID: LayerKind.SIGMOID,
}
"""Kinds of layers that this client knows."""


def method_of(request: Message) -> str:
    """The full name of the method that takes a request: PACKAGE.SERVICE/METHOD."""
    return METHODS.get(request.DESCRIPTOR.full_name, HEALTH_CHECK.strip("/"))


def check_text(name: str) -> None:
    """Raises `UsageError` for a name that no message can hold: half of a pair of surrogates is no character."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the name {name!r:.80} has half a character, at position {error.start}") from error


def check_preparation(preparation: str) -> None:
    """Raises `UsageError` unless it is one of `Preparation`."""
    if preparation not in PREPARATIONS:
        raise UsageError(f'preparation is "local", "server" or "none", not {preparation!r}')


@dataclass(frozen=True, slots=True, eq=False)
class ReadImage:
    """An image that has been read as grey. Reading its array again could take it for another kind of image."""

    grey: npt.NDArray[np.uint8]
    """uint8 (H, W), 0 = black and 255 = white."""


def read_image(
    image: ImageSource, preparation: Preparation, max_pixels: int = MAX_IMAGE_PIXELS
) -> ImageSource | ReadImage:
    """Reads an image as far as is possible without knowing the model.

    Returns:
        "local": its grey. "server": the bytes of a file. "none": the same array.

    Raises:
        ImageError: it can't be read, or `preparation` doesn't take this type.
        UsageError: `preparation` isn't one of the three.
    """
    check_preparation(preparation)
    match preparation:
        case "local":
            return ReadImage(read_grey(image, max_pixels))
        case "server":
            return _read_file(image)
        case "none":
            return _check_pixels(image)


def make_payload(
    image: ImageSource | ReadImage, preparation: Preparation, model: Model, max_pixels: int = MAX_IMAGE_PIXELS
) -> Payload:
    """Makes the payload of an image, or of the result of `read_image`, for a model.

    Raises:
        ImageError: it can't be read, or isn't pixels of the model's shape where `preparation` is "none".
        UsageError: this client can't prepare images for the model.
    """
    if preparation == "none":
        return _check_pixels(image, model.input.shape).tobytes()
    if isinstance(image, ReadImage):
        return pixels_of(find_box(image.grey), _preparable_shape(model)).tobytes()
    if preparation == "server":
        return _read_file(image)
    return prepare(image, max_pixels, _preparable_shape(model)).tobytes()


def is_made_for(image: ImageSource | ReadImage, preparation: Preparation, model: Model) -> bool:
    """False if a model of another input is needed for an image: its pixels, or its preparation, don't fit this one."""
    if preparation == "local":
        return _is_preparable(model)
    return preparation == "server" or not isinstance(image, np.ndarray) or image.shape == model.input.shape


def _is_preparable(model: Model) -> bool:
    return model.input.preparation == INK and len(model.input.shape) == 2


def _preparable_shape(model: Model) -> Shape:
    if _is_preparable(model):
        return model.input.shape
    raise UsageError(
        f"this client can't prepare images for model {model.name!r} ({model.input.preparation!r}, "
        f'{list(model.input.shape)}): use preparation="server", or install a newer vitrine'
    )


def _read_file(image: ImageSource) -> bytes:
    if isinstance(image, (np.ndarray, Image.Image)) or not (
        isinstance(image, (bytes, bytearray, memoryview, str, os.PathLike)) or hasattr(image, "read")
    ):
        raise ImageError(
            "IMAGE_UNSUPPORTED",
            f'preparation="server" takes a path, an open binary file or the bytes of a file, not '
            f'{type(image).__name__}: use preparation="local"',
        )
    return read_file(image)[0]


def _check_pixels(image: ImageSource | ReadImage, shape: Shape | None = None) -> npt.NDArray[np.uint8]:
    """The image, which must be a uint8 array of that shape; None: the shape isn't known yet."""
    if isinstance(image, np.ndarray) and image.dtype == UINT8 and (shape is None or image.shape == shape):
        return image  # type: ignore[return-value]  # mypy learns nothing from a dtype
    found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    expected = "a uint8 array" if shape is None else f"a uint8 array {shape}"
    raise ImageError(
        "IMAGE_UNSUPPORTED",
        f'preparation="none" takes pixels, {expected}, 0 = white and 255 = black, not {found}',
    )


def check_images(images: object) -> None:
    """Raises `UsageError` if one image was given for many: a path would be read letter by letter."""
    if isinstance(images, np.ndarray):
        _check_image_array(images)
    if isinstance(images, (str, bytes, bytearray, memoryview, os.PathLike, Image.Image)) or hasattr(images, "read"):
        raise UsageError(f"classify_many takes an iterable of images, not one {type(images).__name__}: use classify")


def _check_image_array(images: npt.NDArray[Any]) -> None:
    """Raises `UsageError` for the pixels of one image; an array may hold many images, or their paths."""
    is_paths = images.dtype.kind in "OU"
    is_colour = images.ndim == 3 and images.shape[-1] in (3, 4)  # (H, W, 3): its rows would pass for images
    if not is_paths and (images.ndim < 3 or is_colour):
        raise UsageError(
            f"classify_many takes an array (N, H, W), (N, H, W, 3) or (N, H, W, 4), not {images.shape}: "
            "for one image, use classify"
        )


def build_selection(activations: Wanted) -> pb.LayerSelection | None:
    """The selection of layers for a request; None: no layers.

    Raises:
        UsageError: it isn't one of `Wanted`.
    """
    if isinstance(activations, str):
        check_text(activations)
        return pb.LayerSelection(all=True) if activations == "all" else pb.LayerSelection(names=[activations])
    taken = 'activations are "all", the name of a layer, several names, or None'
    if activations is not None and not isinstance(activations, Iterable):
        raise UsageError(f"{taken}, not {activations!r:.60}")
    names = list(activations or ())
    if not all(isinstance(name, str) for name in names):
        raise UsageError(f"{taken}, not {names!r:.60}")
    for name in names:
        check_text(name)
    return pb.LayerSelection(names=names) if names else None


def build_request(
    payloads: Sequence[Payload],
    selection: pb.LayerSelection | None,
    name: str,
    preparation: Preparation,
    model: Model,
    interventions: pb.ImageInterventions | None = None,
) -> pb.ClassifyRequest:
    """The request that classifies some images, at least one.

    Args:
        payloads: the images, made for `model`.
        selection: the layers whose activations are wanted.
        name: the model's name in the request: empty, `NAME` or `NAME@VERSION`.
        preparation: the preparation that the payloads were made with.
        model: the description of that model.
        interventions: those of every image; None: the model runs as it is.
    """
    changes = None if interventions is None else [interventions]
    if preparation == "server":
        files = pb.EncodedImages(files=payloads)
        return pb.ClassifyRequest(model=name, encoded=files, activations=selection, interventions=changes)
    pixels = _pixels_tensor(payloads, model)
    return pb.ClassifyRequest(model=name, pixels=pixels, activations=selection, interventions=changes)


def _pixels_tensor(payloads: Sequence[Payload], model: Model) -> pb.Tensor:
    shape = (len(payloads), *model.input.shape)
    return pb.Tensor(name=model.input.name, shape=shape, dtype=pb.DATA_TYPE_UINT8, data=b"".join(payloads))


def build_interventions(interventions: Iterable[Intervention]) -> pb.ImageInterventions | None:
    """The interventions of an image on the wire; None: there are none."""
    entries = [_build_intervention(one) for one in interventions]
    return pb.ImageInterventions(interventions=entries) if entries else None


def _build_intervention(one: Intervention) -> pb.Intervention:
    check_text(one.layer)
    if one.factor is not None:
        return pb.Intervention(layer=one.layer, units=one.units, scale=one.factor)
    if len(one.values) == 1:
        return pb.Intervention(layer=one.layer, units=one.units, value=one.values[0])
    return pb.Intervention(layer=one.layer, units=one.units, values=pb.UnitValues(values=one.values))


def check_method(method: str) -> None:
    """Raises `UsageError` unless it is one of `AttributionMethod`."""
    if method not in METHODS_OF_ATTRIBUTION:
        raise UsageError(f"method is one of {', '.join(map(repr, METHODS_OF_ATTRIBUTION))}, not {method!r:.60}")


def build_explain(
    payload: Payload,
    digit: int | str | None,
    method: AttributionMethod,
    name: str,
    preparation: Preparation,
    model: Model,
) -> pb.ExplainRequest:
    """The request that explains one image; the arguments are those of `build_request` and of `Client.explain`.

    Raises:
        UsageError: the model has no such class.
    """
    classes = [] if digit is None else [_class_of(digit, model)]
    wanted = pb.AttributionMethod.Value(f"ATTRIBUTION_METHOD_{method.upper()}")
    if preparation == "server":
        files = pb.EncodedImages(files=[payload])
        return pb.ExplainRequest(model=name, encoded=files, classes=classes, method=wanted)
    return pb.ExplainRequest(model=name, pixels=_pixels_tensor([payload], model), classes=classes, method=wanted)


def _class_of(digit: int | str, model: Model) -> int:
    if (label := str(digit)) not in model.classes:
        labels = ", ".join(model.classes[:SHOWN_LABELS]) + (", …" if len(model.classes) > SHOWN_LABELS else "")
        raise UsageError(f"model {model.name!r} has no class {label!r:.60}; its classes: {labels}")
    return model.classes.index(label)


def read_explanation(
    response: pb.ExplainResponse, payload: Payload, method: AttributionMethod, description: Description
) -> Explanation:
    """The explanation of one image.

    Args:
        response: the answer.
        payload: what was sent of the image; its pixels, unless the server prepared it.
        method: the method that was asked for.
        description: the model that answered.

    Raises:
        AnswerError: the answer isn't for one image or not of this model, or can't be read.
    """
    model = description.model
    counts = {len(response.classes), len(response.scores), len(response.biases)}
    if counts != {1} or not 0 <= response.classes[0] < len(model.classes):
        raise AnswerError("the server sent no explanation of one image")
    pixels = response.pixels.data if response.HasField("pixels") else payload
    if len(pixels) != math.prod(model.input.shape):
        raise AnswerError(f"the server sent {len(pixels)} pixels, and the model has {math.prod(model.input.shape)}")
    ink = np.frombuffer(pixels, np.uint8).reshape(model.input.shape).astype(np.float32) / np.float32(255)
    ink.flags.writeable = False
    return Explanation(
        response.classes[0],
        _read_rows(response.contributions, 1, model.input.shape)[0],
        response.biases[0],
        response.scores[0],
        ink,
        method,
        read_identity(response.model),
        model.classes,
    )


def read_predictions(
    response: pb.ClassifyResponse,
    count: int,
    description: Description,
    *,
    apart: bool = False,
    intervened: bool = False,
) -> list[Prediction]:
    """One prediction for each of `count` images; their arrays are rows of the answer's, or copies of these.

    Args:
        response: the answer.
        count: number of images in the request.
        description: the model that answered.
        apart: True gives copies, so that no prediction holds the memory of the others.
        intervened: the request had interventions, so that the answer must have the baseline, too.

    Raises:
        AnswerError: the answer isn't for `count` images or not of this model, or can't be read; or the server is older
            than interventions.
    """
    identity = read_identity(response.model)
    if not intervened:
        return _read_part(response, count, description, identity, apart=apart)
    if not response.HasField("baseline"):
        raise AnswerError("the server answered without the interventions, since it is older than these: update it")
    baselines = _read_part(response.baseline, count, description, identity, apart=apart)
    changed = _read_part(response, count, description, identity, apart=apart)
    return [replace(one, baseline=baseline) for one, baseline in zip(changed, baselines, strict=True)]


def _read_part(
    response: pb.ClassifyResponse | pb.Baseline,
    count: int,
    description: Description,
    identity: ModelIdentity,
    *,
    apart: bool,
) -> list[Prediction]:
    """The predictions of an answer, or of its baseline, which has the same fields."""
    model, classes = description.model, description.model.classes
    probabilities = _read_rows(response.probabilities, count, (len(classes),))  # (N, classes)
    layers = {
        tensor.name: _read_rows(tensor, count, _shape_of(tensor.name, description)) for tensor in response.activations
    }  # (N, *layer.shape) each
    none = Activations({}, description.layers)  # shared: most callers ask for no layers, and it is read-only
    row: Callable[[Floats, int], Floats] = _copy if apart else getitem  # type: ignore[assignment]
    if len(response.digits) != count:
        raise AnswerError(f"the server sent {len(response.digits)} digits for {count} images")
    if any(not 0 <= index < len(classes) for index in response.digits):
        raise AnswerError(f"the server sent a class that isn't one of the {len(classes)} of model {model.name!r}")
    judgements = _read_judgements(response, count)
    return [
        Prediction(
            index,
            row(probabilities, i),
            none if not layers else Activations({name: row(at, i) for name, at in layers.items()}, description.layers),
            identity,
            classes,
            model.input,
            *judgements[i],
        )
        for i, index in enumerate(response.digits)
    ]


def _copy(rows: Floats, index: int) -> Floats:
    """One image's row of an answer, holding nothing of the others; read-only like them."""
    row = rows[index].copy()
    row.setflags(write=False)  # `flags.writeable` takes twice as long, and every image has some rows
    return row  # type: ignore[no-any-return]


def _read_judgements(
    response: pb.ClassifyResponse | pb.Baseline, count: int
) -> Sequence[tuple[float | None, bool | None]]:
    """Novelty and `is_digit` of each image; None if the model, or an older server, has neither."""
    novelties, are_digits = response.novelties, response.are_digits
    if not novelties and not are_digits:
        return [(None, None)] * count
    if not len(novelties) == len(are_digits) == count:
        sent = f"{len(novelties)} novelties and {len(are_digits)} judgements of them"
        raise AnswerError(f"the server sent {sent} for {count} images")
    return list(zip(novelties, are_digits, strict=True))


def _shape_of(layer: str, description: Description) -> Shape | None:
    return description.layers[layer].shape if layer in description.layers else None


def _read_rows(tensor: pb.Tensor, count: int, shape: Shape | None) -> Floats:
    """The tensor as float32 (count, *shape); None: any shape, because the layer is of an unknown kind."""
    if len(tensor.shape) < 2 or tensor.shape[0] != count:
        raise AnswerError(f"the server sent {tensor.name!r} of shape {list(tensor.shape)} for {count} images")
    values = read_floats(tensor)
    if shape is None or values.shape[1:] == shape:
        return values
    raise AnswerError(
        f"the server sent {tensor.name!r} of shape {list(tensor.shape)} for {count} images, "
        f"and one image's shape is {list(shape)}"
    )


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
    """The model that answered."""
    return ModelIdentity(identity.name, identity.version, identity.provider)


def read_summaries(response: pb.ListModelsResponse) -> tuple[ModelSummary, ...]:
    """The entries of the list of models."""
    return tuple(map(_read_summary, response.models))


def _read_summary(entry: pb.ModelSummary) -> ModelSummary:
    known = entry.state in pb.ModelState.values()
    state = pb.ModelState.Name(entry.state).removeprefix("MODEL_STATE_") if known else "UNKNOWN"  # a newer server's
    who = entry.identity
    return ModelSummary(who.name, who.version, who.provider, entry.default, state, entry.reason)


def read_description(response: pb.GetModelResponse) -> Description:
    """The description of a model, without layers of a kind that this client doesn't know.

    Raises:
        AnswerError: it has no shape of its pixels.
    """
    model = response.model
    layers = tuple(_read_layer(layer) for layer in model.layers if layer.kind in KINDS)
    described = Model(
        name=model.identity.name,
        version=model.identity.version,
        provider=model.identity.provider,
        layers=layers,
        classes=tuple(model.classes),
        limits=Limits(model.limits.max_images, model.limits.max_message_bytes, model.limits.max_image_pixels),
        training=_read_training(model.training),
        input=_read_input(model),
        novelty_threshold=model.novelty_threshold if model.HasField("novelty_threshold") else None,
        digest=model.identity.digest,
    )
    unknown = tuple(layer.name for layer in model.layers if layer.kind not in KINDS)
    return Description(described, {layer.name: layer for layer in layers}, unknown, model.identity.digest)


def _read_layer(layer: pb.Layer) -> Layer:
    """A layer; an older server sends neither `shape` nor `inputs`."""
    shape = tuple(layer.shape) or (layer.width,)
    reads = tuple(layer.inputs) or ((layer.reads,) if layer.reads else ())
    return Layer(layer.name, KINDS[layer.kind], shape, layer.parameter_count, reads)


def _read_input(model: pb.Model) -> ModelInput:
    """The input; an older server sends its shape alone, in `pixels_shape`."""
    given = model.input
    if model.HasField("input") and given.shape:
        return ModelInput(given.name, given.dtype, tuple(given.shape), given.preparation)
    if model.pixels_shape:
        return ModelInput(PIXELS, "uint8", tuple(model.pixels_shape), INK)
    raise AnswerError(f"the server didn't send the shape of the pixels of model {model.identity.name!r}")


def _read_training(facts: pb.TrainingFacts) -> TrainingFacts:
    return TrainingFacts(facts.dataset, facts.seed, facts.epochs, dict(facts.metrics), dict(facts.versions))


def read_parameters(response: pb.GetParametersResponse, layer: str) -> Parameters:
    """The parameters of a layer.

    Raises:
        AnswerError: the arrays can't be read.
    """
    weight, bias = read_floats(response.weight), read_floats(response.bias)
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise AnswerError(f"the server sent a weight {weight.shape} with a bias {bias.shape}")
    return Parameters(layer, weight, bias, read_identity(response.model))


def read_health(response: health_pb2.HealthCheckResponse) -> Health:
    """The health that the server reports."""
    status = response.ServingStatus.Name(response.status)
    return Health(status == "SERVING", status)
