"""The largest size of an answer in bytes: the client cuts its requests by it, and the server refuses by it.

Both use one calculation, so that the server never refuses a request that the client let through. It knows layers and
counts, and no encoding: the reserves are generous for any.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from vitrine.model.layers import Layer

ENVELOPE_BYTES = 4096
"""Reserve for everything in a message beside images and activations: identity, shapes, frames."""

LAYER_BYTES = 128
"""Reserve for a layer's name, shape and frame in an answer."""

NUMBER_BYTES = 4
"""The size of a float32."""

VERDICT_BYTES = 10
"""Bytes of an image's class, novelty and verdict: six where all are packed, eight where the class alone takes eight.

Older clients count with this number, so it never changes.
"""


@dataclass(frozen=True, slots=True)
class AnswerSize:
    """The size of an answer as a function of its number of images."""

    fixed: int
    """Bytes that don't depend on the number of images."""
    each: int
    """Bytes that each image adds."""

    def of(self, images: int) -> int:
        """The largest number of bytes of an answer for a number of images."""
        return self.fixed + images * self.each

    def fitting(self, limit: int) -> int:
        """The number of images whose answer surely fits into `limit` bytes; 0 if not even one fits."""
        return max(0, (limit - self.fixed) // self.each)


def answer_size(layers: Sequence[Layer], wanted: Collection[str]) -> AnswerSize:
    """The size of answers with digits, novelties, probabilities and the activations of some layers.

    Args:
        layers: all layers of the model, the output layer last.
        wanted: the names of the layers whose activations the answer carries.
    """
    widths = sum(layer.width for layer in layers if layer.name in wanted) + layers[-1].width
    return AnswerSize(ENVELOPE_BYTES + LAYER_BYTES * len(layers), NUMBER_BYTES * widths + VERDICT_BYTES)
