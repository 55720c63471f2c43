"""Writes the bytes of answers to `Classify` without a message: names, shapes and frames are the same for many."""

from collections.abc import Callable, Mapping
from typing import TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from vitrine.server.inference.requests import Classification
from vitrine.server.models.snapshot import ServedModel
from vitrine.server.protocols.encoding import elements_of, field_head
from vitrine.server.protocols.v1.convert import write_classification, write_identity
from vitrine.v1 import classifier_pb2 as pb

MODEL, DIGITS, PROBABILITIES, ACTIVATIONS, NOVELTIES, ARE_DIGITS = (
    pb.ClassifyResponse.DESCRIPTOR.fields_by_name[name].number
    for name in ("model", "digits", "probabilities", "activations", "novelties", "are_digits")
)

ONE_BYTE = 128
"""Classes whose positions are varints of one byte."""

MAX_FRAMES = 256
"""Frames that are kept for one model: there is one for each selection of layers and number of images."""

Frame: TypeAlias = tuple[bytes, ...]
"""The bytes before each array of an answer, in the order of the arrays."""


class ClassifyAnswer:
    """An answer of `Classify`: bytes for most callers, and a message for those that want JSON.

    Args:
        answer: the answer.
    """

    __slots__ = ("_answer",)

    def __init__(self, answer: Classification) -> None:
        self._answer = answer

    def message(self) -> pb.ClassifyResponse:
        """The message."""
        return write_classification(self._answer)

    def SerializeToString(self) -> bytes:  # noqa: N802 - as messages have it
        """The bytes of the message."""
        return b"".join(self._parts())

    def behind(self, head: Callable[[int], bytes]) -> bytes:
        """The same behind a head, which is made of their number."""
        parts = self._parts()
        return b"".join(
            (head(sum(part.nbytes if isinstance(part, memoryview) else len(part) for part in parts)), *parts)
        )

    def _parts(self) -> list[bytes | memoryview]:
        """The bytes of the message, in parts that are views where they can be."""
        answer = self._answer
        if len(answer.model.metadata.classes) > ONE_BYTE or answer.baseline is not None:
            return [self.message().SerializeToString()]
        arrays: list[bytes | memoryview] = [bytes(answer.digits.tolist()), elements_of(answer.probabilities, "<f4")]
        arrays += [elements_of(values, "<f4") for values in answer.activations.values()]
        if answer.novelty is not None:
            arrays.append(elements_of(answer.novelty, "<f4"))
        if answer.is_digit is not None:
            arrays.append(answer.is_digit.tobytes())
        return [part for pair in zip(_frame_of(answer), arrays, strict=True) for part in pair]


_FRAMES: WeakKeyDictionary[ServedModel, dict[tuple[int, tuple[str, ...]], Frame]] = WeakKeyDictionary()


def _frame_of(answer: Classification) -> Frame:
    frames = _FRAMES.get(answer.model)
    if frames is None:
        frames = _FRAMES[answer.model] = {}
    kind = (len(answer.digits), tuple(answer.activations))
    frame = frames.get(kind)
    if frame is None:
        if len(frames) >= MAX_FRAMES:
            frames.clear()
        frame = frames[kind] = _make_frame(answer)
    return frame


def _make_frame(answer: Classification) -> Frame:
    images = len(answer.digits)
    identity = write_identity(answer.model).SerializeToString()
    frame = [field_head(MODEL, len(identity)) + identity + field_head(DIGITS, images)]
    outputs: Mapping[str, npt.NDArray[np.float32]] = {answer.model.layer_names[-1]: answer.probabilities}
    frame += [_tensor_head(PROBABILITIES, name, values) for name, values in outputs.items()]
    frame += [_tensor_head(ACTIVATIONS, name, values) for name, values in answer.activations.items()]
    if answer.novelty is not None:
        frame += [field_head(NOVELTIES, 4 * images)]
    if answer.is_digit is not None:
        frame += [field_head(ARE_DIGITS, images)]
    return tuple(frame)


def _tensor_head(field: int, name: str, values: npt.NDArray[np.float32]) -> bytes:
    """The bytes of a tensor before its elements, which are its last field."""
    size = 4 * values.size
    named = pb.Tensor(name=name, shape=values.shape, dtype=pb.DATA_TYPE_FLOAT32).SerializeToString()
    elements = field_head(pb.Tensor.DESCRIPTOR.fields_by_name["data"].number, size)
    return field_head(field, len(named) + len(elements) + size) + named + elements
