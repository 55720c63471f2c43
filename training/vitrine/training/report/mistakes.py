"""Finds the examples that a user of a model should look at: those with the highest loss, and those it refuses."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrine.model import DIGITS, Pixels
from vitrine.model.errors import shortened
from vitrine.training.data import Examples
from vitrine.training.report.results import Results

MIN_LOSS = math.log(2)
"""Smallest loss of a listed example: a probability of one half for its class. All misclassified examples exceed it."""

IN_JSON = ("number", "file", "label", "taken_for", "probability", "loss", "novelty")
"""Fields of a listed example in JSON: all but its pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Mistake:
    """A listed example: misclassified, classified with low confidence, or refused."""

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
    novelty: float
    """Novelty of the example; above the model's threshold it is refused."""
    file: str | None = None
    """File of the example, relative to the data set's folder; None where examples aren't files."""

    @property
    def wrong(self) -> bool:
        """True if the predicted label is wrong."""
        return self.label != self.taken_for

    @property
    def name(self) -> str:
        """The file, its unprintable characters escaped; or the index in the data set."""
        return f"#{self.number}" if self.file is None else shortened(self.file, len(self.file))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without the pixels."""
        return {name: getattr(self, name) for name in IN_JSON}


def find_mistakes(
    examples: Examples,
    results: Results,
    count: int,
    classes: tuple[str, ...] = DIGITS,
    *,
    smallest_loss: float = MIN_LOSS,
) -> list[Mistake]:
    """The examples with the highest loss, worst first.

    Args:
        examples: N examples.
        results: what the network calculates for them.
        count: maximum number of results.
        classes: label of each class.
        smallest_loss: smallest loss of a listed example, 0 or more.
    """
    worst = np.argsort(-results.losses, kind="stable")[:count]
    return _listed(examples, results, worst[results.losses[worst] >= smallest_loss], classes)


def find_refused(
    examples: Examples, results: Results, threshold: float, count: int, classes: tuple[str, ...] = DIGITS
) -> list[Mistake]:
    """The examples above the novelty threshold, the most novel first.

    Arguments are those of `find_mistakes`, and the threshold.
    """
    most_novel = np.argsort(-results.novelty, kind="stable")[:count]
    return _listed(examples, results, most_novel[results.novelty[most_novel] > threshold], classes)


def _listed(
    examples: Examples, results: Results, chosen: npt.NDArray[np.int64], classes: tuple[str, ...]
) -> list[Mistake]:
    return [
        Mistake(
            int(number),
            examples.pixels[number],
            classes[examples.labels[number]],
            classes[results.taken_for[number]],
            float(results.probabilities[number].max()),
            float(results.losses[number]),
            float(results.novelty[number]),
            None if examples.files is None else str(examples.files[number]),
        )
        for number in chosen
    ]
