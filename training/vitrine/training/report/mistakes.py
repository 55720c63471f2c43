"""Which examples a network is most wrong about: those with the highest loss. It knows no picture."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from vitrine.model import DIGITS, OutputKind, Pixels
from vitrine.training.data import Examples

DOUBT = math.log(2)
"""The least loss that counts: that of an even chance. Every misclassified example has more, whatever the output."""


@dataclass(frozen=True, slots=True, eq=False)
class Mistake:
    """An example, and how wrong a network is about it; some are right, and merely unsure."""

    number: int
    """Its place among the examples; the first is 0."""
    pixels: Pixels
    """uint8 (height, width), 0 = white (paper), 255 = black (ink): what the network sees of it."""
    label: str
    """The digit that it shows."""
    taken_for: str
    """The digit that the network takes it for."""
    probability: float
    """How probable the network holds that to be, 0 to 1."""
    loss: float
    """The example's loss, 0 or more."""

    @property
    def wrong(self) -> bool:
        """Whether it is taken for another digit than it shows."""
        return self.label != self.taken_for

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON, without the pixels."""
        return {name: getattr(self, name) for name in ("number", "label", "taken_for", "probability", "loss")}


def find_mistakes(
    examples: Examples,
    logits: Tensor,
    probabilities: npt.NDArray[np.float32],
    output: OutputKind,
    count: int,
    classes: tuple[str, ...] = DIGITS,
) -> list[Mistake]:
    """The examples with the highest loss, the worst first, as long as it is `DOUBT` at least.

    Args:
        examples: N of them.
        logits: float32 (N, C), what a network gave for them.
        probabilities: float32 (N, C), its output layer's activations.
        output: the function of the output layer.
        count: how many at most.
        classes: the label of every class.
    """
    losses = losses_of(output, logits, torch.tensor(examples.labels)).numpy()
    worst = [number for number in np.argsort(-losses, kind="stable")[:count] if losses[number] >= DOUBT]
    taken_for = probabilities.argmax(axis=1)
    return [
        Mistake(
            int(number),
            examples.pixels[number],
            classes[examples.labels[number]],
            classes[taken_for[number]],
            float(probabilities[number].max()),
            float(losses[number]),
        )
        for number in worst
    ]


def losses_of(output: OutputKind, logits: Tensor, labels: Tensor) -> Tensor:
    """Each example's loss, whose mean is `loss_of`: float32 (N, C) and int64 (N,) to float32 (N,)."""
    if output == "softmax":
        return F.cross_entropy(logits, labels, reduction="none")
    targets = F.one_hot(labels, logits.shape[1]).to(logits.dtype)  # (N, C)
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1)
