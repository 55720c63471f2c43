"""What a server and the process that prepares its images say to each other. None of it is ever run or unpickled."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt

from vitrine.model import ImageError
from vitrine.model.preparation.step import Step

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""uint8 (height, width), 0 = white (paper), 255 = black (ink)."""

PIXELS = b"P"
"""First byte of an answer: the prepared pixels follow, in row-major order."""

STEPS = b"S"
"""First byte of an answer: the names and shapes of the steps' pictures follow as a line of JSON, then the prepared
pixels, and then the pictures."""

REFUSED = b"R"
"""First byte of an answer: an `ImageError` follows, as JSON."""

FAILED = b"F"
"""First byte of an answer: the traceback of a fault follows."""

ASKS = b"A"
"""First byte of a question: the bytes of memory that decoding will take follow. The answer is `GO`, in its time."""

GO = b"G"

ANSWER_BYTES = 1 << 20
"""The longest answer: 512 × 512 pixels, or a traceback's end."""


@dataclass(frozen=True, slots=True)
class Order:
    """The order to prepare one image. The bytes of its file follow as a message of their own."""

    max_pixels: int
    """The largest width × height."""
    shape: tuple[int, ...]
    """Height and width of the prepared pixels."""
    max_bytes: int
    """The most memory that decoding may take, in bytes."""
    seconds: float
    """CPU time after which the process is ended."""
    shows_steps: bool = False
    """The answer has a picture of each step."""

    def encode(self) -> bytes:
        """As a message."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, message: bytes) -> Self:
        """The order in a message."""
        fields = json.loads(message)
        return cls(**fields | {"shape": tuple(fields["shape"])})


def encode_question(size: int) -> bytes:
    """The question whether decoding may take `size` bytes."""
    return ASKS + size.to_bytes(8, "big")


def decode_question(message: bytes) -> int:
    """The bytes that decoding will take."""
    return int.from_bytes(message[len(ASKS) :], "big")


def encode_steps(pixels: Pixels, steps: Sequence[Step]) -> bytes:
    """The answer with a picture of each step."""
    head = json.dumps([[step.name, step.picture.shape] for step in steps]).encode()
    return b"".join((STEPS, head, b"\n", pixels.tobytes(), *(step.picture.tobytes() for step in steps)))


def decode_steps(message: bytes, shape: tuple[int, ...]) -> tuple[Pixels, tuple[Step, ...]]:
    """The pixels, uint8 `shape`, and the steps in an answer."""
    head, _, data = message[len(STEPS) :].partition(b"\n")
    values, begin = np.frombuffer(data, np.uint8), math.prod(shape)
    pixels, steps = values[:begin].reshape(shape), []
    for name, (height, width) in json.loads(head):
        end = begin + height * width
        steps.append(Step(name, values[begin:end].reshape(height, width)))
        begin = end
    return pixels, tuple(steps)


def encode_refusal(error: ImageError) -> bytes:
    """The answer that a file can't be prepared."""
    return REFUSED + json.dumps([error.reason, str(error)]).encode()


def decode_refusal(message: bytes) -> ImageError:
    """The error in an answer."""
    reason, text = json.loads(message[len(REFUSED) :])
    return ImageError(str(reason), str(text))
