"""Statistics of a model's activations over many images: means, and units that are never active.

Training counts them over held-out examples and writes them into the artifact. A server counts them over its requests in
the same way, so that the two can be compared. It knows arrays and layers, and no framework.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from vitrine.model.layers import Layer, LayerKind


@dataclass(frozen=True, slots=True)
class LayerStatistics:
    """Statistics of one layer's activations."""

    mean: float
    """The mean over all units and images."""
    dead_ratio: float | None
    """The share of units that were 0 for every image, 0 to 1; None for all kinds but relu.

    Only a relu switches units off. For a linear unit 0 has no meaning, a probability is never quite 0, and a pixel that
    is white in every image is paper.
    """


@dataclass(frozen=True, slots=True)
class ActivationStatistics:
    """Statistics of the activations of every layer."""

    images: int
    """Number of images, at least 1. The fewer, the more units look dead."""
    layers: Mapping[str, LayerStatistics]
    """By the layer's name."""


class ActivationTally:
    """Counts activations, batch by batch.

    Args:
        layers: every layer of the model.
    """

    def __init__(self, layers: Iterable[Layer]) -> None:
        self._layers = tuple(layers)
        self._sums = dict.fromkeys((layer.name for layer in self._layers), 0.0)
        self._active = {
            layer.name: np.zeros(layer.shape, np.bool_) for layer in self._layers if layer.kind is LayerKind.RELU
        }
        self.images = 0
        """Number of images that have been counted."""

    def add(self, activations: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """Counts a batch: float32 (N, *shape) for every layer, by name."""
        for name, values in activations.items():
            self._sums[name] += float(values.sum(dtype=np.float64))
            if name in self._active:
                self._active[name] |= values.any(axis=0)  # a relu gives nothing below 0
        self.images += len(next(iter(activations.values())))

    def merged(self, other: Self) -> "ActivationTally":
        """Both together."""
        both = ActivationTally(self._layers)
        both._sums = {name: count + other._sums[name] for name, count in self._sums.items()}
        both._active = {name: active | other._active[name] for name, active in self._active.items()}
        both.images = self.images + other.images
        return both

    def statistics(self) -> ActivationStatistics:
        """The statistics of everything that was counted, at least one image."""
        return ActivationStatistics(self.images, {layer.name: self._of(layer) for layer in self._layers})

    def _of(self, layer: Layer) -> LayerStatistics:
        active = self._active.get(layer.name)
        dead_ratio = None if active is None else 1 - float(active.mean())
        return LayerStatistics(self._sums[layer.name] / (self.images * layer.width), dead_ratio)
