"""Translates a request's optional inputs into interventions: `LAYER.scale` and `LAYER.shift`.

Each layer's activations become activation × scale + shift, image by image, before other layers read them.
"""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from vitrine.model import Layer
from vitrine.model.graph import changeable_layers, scale_input, shift_input
from vitrine.oip import inference_pb2 as pb
from vitrine.server.errors import InvalidRequest
from vitrine.server.inference.interventions import check_count
from vitrine.server.inference.requests import Change, Interventions
from vitrine.server.models.snapshot import ServedModel


def optional_inputs(model: ServedModel) -> Mapping[str, Layer]:
    """The layer that each optional input of a model changes, by the input's name; none if nothing runs it changed."""
    if model.intervened is None:
        return {}
    layers = changeable_layers(model.metadata.layers)
    return {name_of(layer.name): layer for name_of in (scale_input, shift_input) for layer in layers}


def split_interventions(
    message: pb.ModelInferRequest, model: ServedModel
) -> tuple[pb.ModelInferRequest, Interventions | None]:
    """The request without its optional inputs, and the interventions that these are; None: there are none.

    Raises:
        InvalidRequest: one isn't FP32 [N, …] of its layer's shape, comes twice, has other bytes than its shape says, or
            has another number of images than the others; or there are too many changes.
    """
    known = optional_inputs(model) if len(message.inputs) > 1 else {}
    found = [index for index, tensor in enumerate(message.inputs) if tensor.name in known]
    if not found:
        return message, None
    values: dict[str, npt.NDArray[np.float32]] = {}
    for index in found:
        name = message.inputs[index].name
        if name in values:
            raise InvalidRequest("INPUT_TWICE", f"input {name!r} is there twice", f"inputs[{index}].name")
        values[name] = _read(message, index, known[name])
    if len({len(rows) for rows in values.values()}) > 1:
        raise InvalidRequest("WRONG_SHAPE", "the optional inputs have different numbers of images", "inputs")
    rest = pb.ModelInferRequest()
    rest.CopyFrom(message)
    for index in reversed(found):
        del rest.inputs[index]
        if rest.raw_input_contents:
            del rest.raw_input_contents[index]
    return rest, _interventions(values, known)


def _read(message: pb.ModelInferRequest, index: int, layer: Layer) -> npt.NDArray[np.float32]:
    """One optional input: float32 (N, width)."""
    tensor, field = message.inputs[index], f"inputs[{index}]"
    shape = tuple(tensor.shape[: len(layer.shape) + 2])
    if tensor.datatype != "FP32" or not shape or shape[0] < 1 or shape[1:] != layer.shape:
        extents = ",".join(map(str, layer.shape))
        text = f"unexpected input {tensor.name!r} for model {message.model_name!r}: expected FP32 [-1,{extents}]"
        raise InvalidRequest("WRONG_SHAPE", text, f"{field}.shape")
    if index < len(message.raw_input_contents):
        raw = message.raw_input_contents[index]
        values = np.frombuffer(raw, "<f4") if len(raw) % 4 == 0 else np.empty(0, np.float32)
    else:
        values = np.asarray(tensor.contents.fp32_contents, np.float32)
    if len(values) != math.prod(shape):
        text = f"input byte size mismatch for input {tensor.name!r}. Expected {4 * math.prod(shape)}, "
        raise InvalidRequest("WRONG_BYTE_COUNT", f"{text}got {4 * len(values)}", field)
    return values.reshape(shape[0], -1)


def _interventions(values: Mapping[str, npt.NDArray[np.float32]], known: Mapping[str, Layer]) -> Interventions:
    """The changes of each image: one for each layer that has a scale, a shift, or both."""
    layers = list(dict.fromkeys(known[name].name for name in values))
    count = len(next(iter(values.values())))
    check_count(count * len(layers))

    def change(layer: str, image: int) -> Change:
        scale, shift = values.get(scale_input(layer)), values.get(shift_input(layer))
        return Change(layer, None, 1.0 if scale is None else scale[image], 0.0 if shift is None else shift[image])

    return Interventions([[change(layer, image) for layer in layers] for image in range(count)], baseline=False)
