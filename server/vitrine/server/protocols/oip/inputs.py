"""Translates a request's one input, which comes in many forms, into pixels or image files.

It checks the errors of this protocol alone, and words them as Triton does. Shapes come from the model's metadata.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vitrine.model import ModelInput, Shape
from vitrine.oip import inference_pb2 as pb
from vitrine.server.errors import InvalidRequest, quoted
from vitrine.server.models.snapshot import ServedModel
from vitrine.server.protocols.oip.errors import INPUT

DATATYPES = ("UINT8", "FP32", "BYTES")
"""The datatypes that the input may have: pixels as whole numbers or as floats, and image files."""

CONTENTS = {"UINT8": "uint_contents", "FP32": "fp32_contents", "BYTES": "bytes_contents"}
"""Name of the field for typed elements of each datatype."""

RAW: Mapping[str, np.dtype[Any]] = {"UINT8": np.dtype(np.uint8), "FP32": np.dtype("<f4")}
"""Layout of raw elements of each datatype; elements of BYTES have no fixed size."""

TYPED: Mapping[str, np.dtype[Any]] = {"UINT8": np.dtype(np.uint32), "FP32": np.dtype(np.float32)}
"""Type of typed elements of each datatype: uint_contents has whole numbers of 32 bits."""

LENGTH = struct.Struct("<I")
"""The length before each element of a raw BYTES tensor."""

PACKED_BYTES = 64
"""Number of bytes of typed elements that count as one field of a request, because they take as long to parse."""

Tensor: TypeAlias = pb.ModelInferRequest.InferInputTensor
Elements: TypeAlias = "npt.NDArray[np.uint8] | Sequence[bytes]"
"""Pixels, uint8 (N, *shape of the input), or image files."""


def fields_per_image(model: ServedModel) -> int:
    """The largest number of fields that one image's typed elements count as: those of FP32, the largest ones."""
    return math.ceil(math.prod(model.metadata.input.shape) * RAW["FP32"].itemsize / PACKED_BYTES)


def image_shapes(datatype: str, given: ModelInput) -> tuple[Shape, ...]:
    """The shapes that one image may have in a datatype, without the axis of images: as it is, or flat."""
    return ((), (1,)) if datatype == "BYTES" else (given.shape, (math.prod(given.shape),))


def read_input(message: pb.ModelInferRequest, model: ServedModel, max_images: int) -> Elements:
    """Reads the input of a request to a model.

    Raises:
        InvalidRequest: it isn't what the model takes, or has more than `max_images` images.
    """
    tensor = _the_input(message, model)
    count = _count_images(tensor, model, max_images)
    raw = _raw(message, tensor, model)
    if tensor.datatype == "BYTES":
        return _files(raw, tensor, model, count)
    return _pixels(raw, tensor, model)


def _the_input(message: pb.ModelInferRequest, model: ServedModel) -> Tensor:
    expected = model.metadata.input.name
    for index, tensor in enumerate(message.inputs):
        if tensor.name != expected:
            text = f"unexpected inference input {quoted(tensor.name)} for model {model.name!r}; it has: {expected}"
            raise InvalidRequest("UNKNOWN_INPUT", text, f"inputs[{index}].name")
    if len(message.inputs) != 1:
        text = f"expected 1 inputs but got {len(message.inputs)} inputs for model {model.name!r}"
        raise InvalidRequest("WRONG_INPUT_COUNT", text, "inputs")
    return message.inputs[0]


def _count_images(tensor: Tensor, model: ServedModel, max_images: int) -> int:
    """The number of images that the input's shape says."""
    if tensor.datatype not in DATATYPES:
        name = model.metadata.input.name
        text = (
            f"inference input {name!r} data-type is {quoted(tensor.datatype)}, but model {model.name!r} expects "
            "'UINT8'; 'FP32' is taken too, and 'BYTES' for image files"
        )
        raise InvalidRequest("WRONG_DTYPE", text, f"{INPUT}.datatype")
    count, *rest = tensor.shape or (-1,)
    allowed = image_shapes(tensor.datatype, model.metadata.input)
    if count < 0 or tuple(rest) not in allowed:
        expected = " or ".join(_shape((-1, *one)) for one in allowed)
        text = f"unexpected shape for {_called(model)}. Expected {expected}, got {_shape(tensor.shape)}"
        raise InvalidRequest("WRONG_SHAPE", text, f"{INPUT}.shape")
    if count > max_images:
        text = f"inference request batch-size must be <= {max_images} for {model.name!r}; got {count}"
        raise InvalidRequest("TOO_MANY_IMAGES", text, f"{INPUT}.shape")
    return count


def _called(model: ServedModel) -> str:
    return f"input {model.metadata.input.name!r} for model {model.name!r}"


def _shape(extents: Sequence[int]) -> str:
    """A shape as Triton writes it; of a very long one, the beginning."""
    return f"[{','.join(map(str, extents[:8]))}{',…' if len(extents) > 8 else ''}]"


def _raw(message: pb.ModelInferRequest, tensor: Tensor, model: ServedModel) -> bytes | None:
    """The input's raw elements; None: they are typed."""
    given, name = len(message.raw_input_contents), model.metadata.input.name
    if given and tensor.HasField("contents"):
        text = "contents field must not be specified when using raw_input_contents "
        text += f"for {name!r} for model {model.name!r}"
        raise InvalidRequest("RAW_AND_TYPED", text, f"{INPUT}.contents")
    if given > 1:
        text = f"expected 1 raw_input_contents but got {given} for model {model.name!r}: one for each input"
        raise InvalidRequest("WRONG_RAW_COUNT", text, "raw_input_contents")
    if not given and not tensor.HasField("contents"):
        text = f"unable to find data for input tensor {name!r} for model {model.name!r} in request"
        raise InvalidRequest("NO_CONTENTS", text, INPUT)
    return message.raw_input_contents[0] if given else None


def _typed(tensor: Tensor, model: ServedModel) -> Sequence[Any]:
    """The input's typed elements, which must be in the field for its datatype and in no other."""
    expected, name = CONTENTS[tensor.datatype], model.metadata.input.name
    for field, _ in tensor.contents.ListFields():
        if field.name != expected:
            text = f"unexpected explicit tensor data for input tensor {name!r} for model {model.name!r}: "
            text += f"{tensor.datatype} belongs into {expected}, and {field.name} has elements"
            raise InvalidRequest("WRONG_CONTENTS", text, f"{INPUT}.contents.{field.name}")
    elements: Sequence[Any] = getattr(tensor.contents, expected)
    return elements


def _pixels(raw: bytes | None, tensor: Tensor, model: ServedModel) -> npt.NDArray[np.uint8]:
    """The input's pixels: uint8 (N, *shape of the input)."""
    kind = RAW[tensor.datatype]
    typed = _typed(tensor, model) if raw is None else ()
    found = len(typed) * kind.itemsize if raw is None else len(raw)
    expected = math.prod(tensor.shape) * kind.itemsize
    if found != expected:
        text = f"input byte size mismatch for {_called(model)}. Expected {expected}, got {found}"
        raise InvalidRequest("WRONG_BYTE_COUNT", text, INPUT if raw is None else "raw_input_contents[0]")
    values = np.frombuffer(raw, kind) if raw is not None else np.fromiter(typed, TYPED[tensor.datatype], len(typed))
    return _as_uint8(values, model).reshape(-1, *model.metadata.input.shape)


def _as_uint8(values: npt.NDArray[Any], model: ServedModel) -> npt.NDArray[np.uint8]:
    """Whole numbers from 0 to 255: fractions are rounded to the nearest, halves to even, as in IEEE 754."""
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    if len(values) and not (values.min() >= 0 and values.max() <= 255):  # with a NaN, neither holds
        text = f"{_called(model)} has an element that isn't between 0 (white) and 255 (black): "
        text += "pixels are 0 to 255, not 0 to 1"
        raise InvalidRequest("OUT_OF_RANGE", text, INPUT)
    if len(values) and values.dtype.kind == "f" and 0 < values.max() <= 1:  # of prepared pixels, one is 255
        text = f"{_called(model)} has elements from {values.min():g} to {values.max():g} only: pixels are 0 (white) "
        text += "to 255 (black), not 0 to 1: multiply them by 255"
        raise InvalidRequest("OUT_OF_RANGE", text, INPUT)
    rounded: npt.NDArray[np.uint8] = np.rint(values).astype(np.uint8)
    return rounded


def _files(raw: bytes | None, tensor: Tensor, model: ServedModel, count: int) -> Sequence[bytes]:
    """The input's image files."""
    files = _typed(tensor, model) if raw is None else _split(raw, count, model)
    if len(files) != count:
        raise _wrong_element_count(model, count, len(files))
    return files


def _split(raw: bytes, count: int, model: ServedModel) -> Sequence[bytes]:
    """The elements of a raw BYTES tensor; reading stops after `count`."""
    elements: list[bytes] = []
    end = 0
    while end < len(raw):
        if len(elements) == count:
            raise _wrong_element_count(model, count, f"more than {count}")
        begin = end + LENGTH.size
        end = begin + (LENGTH.unpack_from(raw, end)[0] if begin <= len(raw) else 0)
        if end > len(raw):
            text = f"incomplete string data for inference {_called(model)}: "
            text += f"element {len(elements)} ends at byte {end}, and {len(raw)} came"
            raise InvalidRequest("WRONG_BYTE_COUNT", text, "raw_input_contents[0]")
        elements.append(raw[begin:end])
    return elements


def _wrong_element_count(model: ServedModel, expected: int, found: int | str) -> InvalidRequest:
    text = f"expected {expected} strings for inference {_called(model)}, got {found}"
    return InvalidRequest("WRONG_ELEMENT_COUNT", text, INPUT)
