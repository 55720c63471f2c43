"""The layers of a model, by name: the words that the artifact, the wire and the SDK share.

Every step that calculates is a layer, the input and the output too. Layers have names, kinds and sizes here; `graph`
knows how each kind is calculated.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

Shape: TypeAlias = tuple[int, ...]
"""The extents of an array."""

OutputKind: TypeAlias = Literal["softmax", "sigmoid"]
"""The function of the output layer."""


class LayerKind(StrEnum):
    """The function of a layer."""

    INPUT = "input"
    """The pixels, scaled to 0 (white) to 1 (black) and flattened row by row."""
    LINEAR = "linear"
    """A matrix multiply: weight × activations + bias."""
    RELU = "relu"
    """max(x, 0)."""
    SOFTMAX = "softmax"
    """exp(x) over its sum: 0 to 1, summing to 1."""
    SIGMOID = "sigmoid"
    """1 / (1 + exp(-x)): each 0 to 1 for itself."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a model."""

    name: str
    """The name of its activations: in the ONNX graph, on the wire and in the SDK."""
    kind: LayerKind
    """Its function."""
    shape: Shape
    """The shape of one image's activations, without the axis of images: (512,) for 512 units."""
    parameter_count: int
    """Number of stored parameters, weights and biases; 0 for all kinds but linear."""
    reads: tuple[str, ...]
    """The layers whose activations it reads; empty for the input layer."""

    @property
    def width(self) -> int:
        """Number of activations of one image."""
        return math.prod(self.shape)
