"""Answered images of one request, as they are kept, and what is known of their model. Plain data."""

import math
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from vitrine.model import Shape

FLOAT_BYTES = 4
"""Bytes of a float32."""

COPIED_BYTES = 1 << 20
"""Bytes of rows up to which they are copied on the event loop, in about 0.1 ms."""


@dataclass(frozen=True, slots=True)
class CapturedModel:
    """A description of the model that answered. It doesn't hold the model, which may be replaced meanwhile."""

    name: str
    """The model's name."""
    version: str
    """The version of its weights."""
    label: str
    """NAME@VERSION."""
    digest: str
    """The first digits of its file's SHA-256."""
    classes: tuple[str, ...]
    """Labels of its classes."""
    input_shape: Shape
    """Shape of one image's pixels."""
    layers: tuple[tuple[str, int], ...]
    """The name of each layer, and the number of its activations, in the order of the layers."""
    is_judged: bool
    """True if it has a novelty threshold."""

    def layer_bytes(self, layers: Container[str]) -> int:
        """Bytes of the activations of some layers, of one image."""
        return FLOAT_BYTES * sum(width for name, width in self.layers if name in layers)

    def row_bytes(self, layers: Container[str]) -> int:
        """Bytes of one image with its probabilities and the activations of some layers, at least."""
        return math.prod(self.input_shape) + FLOAT_BYTES * len(self.classes) + self.layer_bytes(layers)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """N answered images of one request; row i is image i."""

    model: CapturedModel
    """The model that answered."""
    request_id: str
    """The request's id, as logs have it."""
    time: float
    """When it was answered, in seconds since 1970."""
    pixels: npt.NDArray[np.uint8]
    """uint8 (N, height, width): what the model got."""
    classes: npt.NDArray[np.int64]
    """int64 (N,): position of the predicted class."""
    probabilities: npt.NDArray[np.float32]
    """float32 (N, classes)."""
    novelty: npt.NDArray[np.float32] | None
    """float32 (N,); None: the model has no threshold."""
    is_digit: npt.NDArray[np.bool_] | None
    """bool (N,); None: the model has no threshold."""
    activations: Mapping[str, npt.NDArray[np.float32]]
    """float32 (N, …) for each layer that is kept."""
    first: int = 0
    """The place of the first row among the request's images."""

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(values.nbytes for values in self._arrays())

    @property
    def held_bytes(self) -> int:
        """Bytes of memory that the arrays hold: a view holds all of the array that it was cut from."""
        return sum(max(values.nbytes, getattr(values.base, "nbytes", 0)) for values in self._arrays())

    def owned(self) -> Self:
        """The same rows with copies in the place of views: one row would hold a whole batch in memory.

        Large rows stay as they are: they are most of their batch, and copying them would hold up the event loop.
        """
        if self.nbytes > COPIED_BYTES:
            return self
        return self._with(lambda values: values if values.base is None else values.copy())

    def pieces(self, size: int) -> Iterator[Self]:
        """The same rows in pieces of about `size` bytes, of one row at least."""
        each = max(1, size * len(self) // max(1, self.nbytes))
        if each >= len(self):
            yield self
            return
        for start in range(0, len(self), each):
            rows = slice(start, start + each)
            yield replace(self._with(lambda values, rows=rows: values[rows]), first=self.first + start)

    def _arrays(self) -> Iterator[npt.NDArray[Any]]:
        yield self.pixels
        yield self.classes
        yield self.probabilities
        yield from self.activations.values()
        if self.novelty is not None:
            yield self.novelty
        if self.is_digit is not None:
            yield self.is_digit

    def _with(self, change: Any) -> Self:
        """The same rows, each array changed."""
        return replace(
            self,
            pixels=change(self.pixels),
            classes=change(self.classes),
            probabilities=change(self.probabilities),
            novelty=None if self.novelty is None else change(self.novelty),
            is_digit=None if self.is_digit is None else change(self.is_digit),
            activations={layer: change(values) for layer, values in self.activations.items()},
        )
