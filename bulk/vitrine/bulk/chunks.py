"""Images on their way from a source to an engine, and what an engine says of them: plain data, and reading ahead."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from vitrine.model import Shape, VitrineError

CHUNK_IMAGES = 1024
"""Most images in a chunk: a request of the size that servers take by default."""

CHUNK_BYTES = 64 << 20
"""Bytes of image files from which on a chunk is full."""

Floats: TypeAlias = npt.NDArray[np.float32]

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class Files:
    """Image files, as they are stored."""

    ids: Sequence[str]
    """The name of each image in its source."""
    files: Sequence[bytes | str]
    """The content of each file; or the reason why it can't be read."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """Images that are prepared already."""

    ids: Sequence[str]
    """The name of each image in its source."""
    pixels: npt.NDArray[np.uint8]
    """uint8 (N, height, width), 0 = white (paper), 255 = black (ink); as a source gives them: (N, height × width)."""
    errors: Mapping[int, str] = field(default_factory=dict)
    """A sentence for each image that can't be read, by its row; its pixels mean nothing."""
    may_vary: bool = False
    """Rows of the source have lengths of their own. Of a wrong one the image is bad, and not the source."""

    def __len__(self) -> int:
        return len(self.ids)

    def shaped(self, shape: Shape) -> "Pixels":
        """The same images in a model's shape.

        Raises:
            VitrineError: they have another number of pixels.
        """
        if self.pixels[0].size != math.prod(shape):
            if self.may_vary:
                return UnevenPixels(self.ids, [row.tobytes() for row in self.pixels]).shaped(shape)
            expected = " × ".join(map(str, shape))
            raise VitrineError(f"{self.ids[0]} has {self.pixels[0].size} pixels, and the model takes {expected}")
        return replace(self, pixels=self.pixels.reshape(len(self), *shape))


@dataclass(frozen=True, slots=True, eq=False)
class UnevenPixels:
    """The same where rows are missing, or have different numbers of pixels: a model's shape tells which are good."""

    ids: Sequence[str]
    """The name of each image in its source."""
    rows: Sequence[bytes | None]
    """Each image's pixels; None: the source has none."""

    def __len__(self) -> int:
        return len(self.ids)

    def shaped(self, shape: Shape) -> Pixels:
        """The images in a model's shape; those that don't fit have an error."""
        expected, errors = math.prod(shape), dict[int, str]()
        pixels = np.zeros((len(self), expected), np.uint8)
        for place, row in enumerate(self.rows):
            if row is None:
                errors[place] = "the row has no pixels"
            elif len(row) != expected:
                errors[place] = f"the row has {len(row)} pixels, and the model takes {' × '.join(map(str, shape))}"
            else:
                pixels[place] = np.frombuffer(row, np.uint8)
        return Pixels(self.ids, pixels.reshape(len(self), *shape), errors)


Chunk: TypeAlias = Files | Pixels
"""Some images of one part of a source, at most `CHUNK_IMAGES`, as an engine takes them."""

ReadChunk: TypeAlias = Chunk | UnevenPixels
"""The same as a source gives them, which knows no model."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the results' columns are made from."""

    label: str
    """NAME@VERSION."""
    digest: str
    """The first digits of its file's SHA-256; empty from a server that doesn't tell."""
    input_shape: Shape
    """Shape of one image's pixels."""
    classes: tuple[str, ...]
    """Labels of the classes."""
    layers: Mapping[str, Shape]
    """Shape of one image's activations of each layer, in the order of the layers."""
    has_novelty: bool
    """True if it judges whether an image is one of its classes."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """An engine's answer for N images. The rows of images with an error mean nothing."""

    classes: npt.NDArray[np.int64]
    """int64 (N,): position of the predicted class."""
    probabilities: Floats
    """float32 (N, classes)."""
    activations: Mapping[str, Floats]
    """float32 (N, …) for each wanted layer."""
    novelty: Floats | None
    """float32 (N,); None: the model has none."""
    is_digit: npt.NDArray[np.bool_] | None
    """bool (N,); None: the model has no threshold."""
    errors: Mapping[int, str]
    """A sentence for each image that can't be read, by its row."""


@dataclass(frozen=True, slots=True)
class Row:
    """One image's scores, where they come one by one."""

    index: int
    """Position of the predicted class."""
    probabilities: Floats
    """float32 (classes,)."""
    activations: Mapping[str, Floats]
    """float32 (*layer.shape) by layer."""
    novelty: float | None
    """None: the model has none."""
    is_digit: bool | None
    """None: the model has no threshold."""


def stacked(rows: Sequence[Row | str], model: ModelInfo, wanted: Sequence[str]) -> Scores:
    """Puts rows together; a text in the place of a row is its error."""
    count = len(rows)
    classes, probabilities = np.zeros(count, np.int64), np.zeros((count, len(model.classes)), np.float32)
    activations = {layer: np.zeros((count, *model.layers[layer]), np.float32) for layer in wanted}
    novelty, is_digit = np.zeros(count, np.float32), np.zeros(count, np.bool_)
    errors: dict[int, str] = {}
    for place, row in enumerate(rows):
        if isinstance(row, str):
            errors[place] = row
            continue
        classes[place], probabilities[place] = row.index, row.probabilities
        novelty[place], is_digit[place] = row.novelty or 0.0, row.is_digit or False
        for layer in wanted:
            activations[layer][place] = row.activations[layer]
    if not model.has_novelty:
        return Scores(classes, probabilities, activations, None, None, errors)
    return Scores(classes, probabilities, activations, novelty, is_digit, errors)


async def ahead(chunks: Iterator[Result]) -> AsyncIterator[Result]:
    """The same chunks, each read in a thread while the one before it is classified."""
    reading = asyncio.ensure_future(asyncio.to_thread(next, chunks, None))
    try:
        while (chunk := await ended(reading)) is not None:
            reading = asyncio.ensure_future(asyncio.to_thread(next, chunks, None))
            yield chunk
    finally:
        await asyncio.wait([reading])  # a thread that still reads would find the source closed


async def ended(thread: "asyncio.Future[Result]") -> Result:
    """The result of a thread. On Ctrl-C it waits, too: what the thread uses is closed next."""
    cancelled: asyncio.CancelledError | None = None
    while not thread.done():
        try:
            await asyncio.wait([thread])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return thread.result()
