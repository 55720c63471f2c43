"""Finds the examples with the highest loss. It draws nothing."""

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

MIN_LOSS = math.log(2)
"""Smallest loss of a listed example: a probability of one half for its class. All misclassified examples exceed it."""


@dataclass(frozen=True, slots=True, eq=False)
class Mistake:
    """An example with a high loss: misclassified, or classified with low confidence."""

    number: int
    """Index of the example, from 0."""
    pixels: Pixels
    """uint8 (H, W), 0 = white (paper), 255 = black (ink): the network's input."""
    label: str
    """Label of the example."""
    taken_for: str
    """Label predicted by the network."""
    probability: float
    """Probability of the predicted label, 0 to 1."""
    loss: float
    """Loss of the example, 0 or more."""

    @property
    def wrong(self) -> bool:
        """True if the predicted label is wrong."""
        return self.label != self.taken_for

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without the pixels."""
        return {name: getattr(self, name) for name in ("number", "label", "taken_for", "probability", "loss")}


def find_mistakes(
    examples: Examples,
    logits: Tensor,
    probabilities: npt.NDArray[np.float32],
    output: OutputKind,
    count: int,
    classes: tuple[str, ...] = DIGITS,
    *,
    smallest_loss: float = MIN_LOSS,
) -> list[Mistake]:
    """The examples with the highest loss, worst first.

    Args:
        examples: N examples.
        logits: float32 (N, C), the network's logits for them.
        probabilities: float32 (N, C), its output layer's activations.
        output: function of the output layer.
        count: maximum number of results.
        classes: label of each class.
        smallest_loss: smallest loss of a listed example, 0 or more.
    """
    losses = losses_of(output, logits, torch.tensor(examples.labels)).numpy()
    worst = [number for number in np.argsort(-losses, kind="stable")[:count] if losses[number] >= smallest_loss]
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
    """Loss of each example, whose mean is `loss_of`: float32 (N, C) and int64 (N,) to float32 (N,)."""
    if output == "softmax":
        return F.cross_entropy(logits, labels, reduction="none")
    targets = F.one_hot(labels, logits.shape[1]).to(logits.dtype)  # (N, C)
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1)
