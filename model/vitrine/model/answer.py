"""How many bytes an answer takes at most: the client cuts its requests by this, and the server refuses by it.

One reckoning for both, because what the one lets through the other must not refuse. It knows layers and counts, and no
encoding: the reserves are generous for any.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from vitrine.model.layers import Layer

ENVELOPE_BYTES = 4096
"""What a message needs beside its images and activations: the model's identity, shapes, frames; generously."""

LAYER_BYTES = 128
"""What a layer's name, shape and frame need in an answer; generously."""

NUMBER_BYTES = 4
"""The size of a float32."""

VERDICT_BYTES = 10
"""What a digit takes with its image's novelty and whether it is one: six bytes where all are packed, eight where the
digit alone is sent as an integer of eight bytes. A client counts with the number that its Vitrine has: it stays."""


@dataclass(frozen=True, slots=True)
class AnswerSize:
    """How the size of an answer grows with its images."""

    fixed: int
    """Bytes that it takes however many images it is for."""
    each: int
    """Bytes that each image adds."""

    def of(self, images: int) -> int:
        """The bytes of an answer for so many images, at most."""
        return self.fixed + images * self.each

    def fitting(self, limit: int) -> int:
        """The images whose answer surely fits into `limit` bytes; 0 when not even one's does."""
        return max(0, (limit - self.fixed) // self.each)


def answer_size(layers: Sequence[Layer], wanted: Collection[str]) -> AnswerSize:
    """The size of answers with digits, novelties, probabilities and the activations of some layers.

    Args:
        layers: all layers of the model, the output layer last.
        wanted: the names of those whose activations the answer carries.
    """
    widths = sum(layer.width for layer in layers if layer.name in wanted) + layers[-1].width
    return AnswerSize(ENVELOPE_BYTES + LAYER_BYTES * len(layers), NUMBER_BYTES * widths + VERDICT_BYTES)
