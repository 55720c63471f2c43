"""Measures a network by source of handwriting and by form of digit: whose hands it reads, and which ways of writing.

Sources come with the examples; forms are made, with random numbers that no fit learns from. It draws no picture.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from vitrine.model import DIGITS, OutputKind, prepare
from vitrine.training.data import Examples
from vitrine.training.network.evaluate import Evaluation, evaluate_by_source
from vitrine.training.network.mlp import MLP
from vitrine.training.pens import draw_by_chance
from vitrine.training.rendering.forms import FORMS, write_form
from vitrine.training.report.mistakes import Mistake, find_mistakes
from vitrine.training.report.results import Results

MOST_SHOWN = 10
"""Examples of each group that a contact sheet has room for."""


@dataclass(frozen=True, slots=True)
class FormsPlan:
    """Settings of the measurement of forms."""

    count: int = 300
    """Images per form."""
    seed: int = 0
    """Seed of all images."""


@dataclass(frozen=True, slots=True, eq=False)
class GroupResult:
    """Results for the examples of one source, or of one form of digit."""

    name: str
    """Name of the source or form."""
    evaluation: Evaluation
    """Errors and confusion."""
    kept: float
    """Share of examples at or below the novelty threshold, 0 to 1."""
    hardest: tuple[Mistake, ...]
    """The examples with the highest loss, worst first, at most `MOST_SHOWN`; not all of them are misclassified."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, with the accuracy by class where the group has examples of it."""
        counts = self.evaluation.confusion.sum(axis=1)
        right = self.evaluation.confusion.diagonal()
        return {
            "name": self.name,
            "count": self.evaluation.count,
            "errors": self.evaluation.errors,
            "accuracy": self.evaluation.accuracy,
            "kept": self.kept,
            "classes": {
                label: {"count": int(count), "errors": int(count - hits), "accuracy": float(hits / count)}
                for label, count, hits in zip(self.evaluation.classes, counts, right, strict=True)
                if count
            },
        }


def measure_sources(
    examples: Examples, results: Results, threshold: float, classes: tuple[str, ...] = DIGITS
) -> list[GroupResult]:
    """Results by source; none for examples of a single source.

    Args:
        examples: at least one; none may be from the training data.
        results: what the network calculates for them.
        threshold: its novelty threshold.
        classes: label of each class.
    """
    members = examples.members()
    return [
        _group(name, evaluation, examples[members[name]], results[members[name]], threshold, classes)
        for name, evaluation in evaluate_by_source(results.taken_for, examples, classes).items()
    ]


def measure_forms(
    mlp: MLP, threshold: float, output: OutputKind, plan: FormsPlan, *, progress: bool = True
) -> list[GroupResult]:
    """Results by form of digit, in the order of `FORMS`, for a network of the ten digits.

    Args:
        mlp: the network as served, on the CPU.
        threshold: its novelty threshold.
        output: function of its output layer.
        plan: number and seed of the images.
        progress: True shows a progress bar.
    """
    return [
        _measure_form(name, mlp, threshold, output, plan)
        for name in tqdm(FORMS, "forms", unit="form", disable=not progress)
    ]


def form_examples(name: str, plan: FormsPlan, shape: tuple[int, ...]) -> Examples:
    """Examples of a form of `FORMS`, written by as many hands with pens of all kinds, and prepared."""
    pixels = np.stack([prepare(image, shape=(shape[0], shape[1])) for image in _drawn(name, plan)])
    return Examples(pixels, np.full(plan.count, FORMS[name].digit, np.int64))


def _drawn(name: str, plan: FormsPlan) -> Iterator[npt.NDArray[np.uint8]]:
    for number in range(plan.count):
        random = np.random.default_rng([zlib.crc32(f"evaluation {name}".encode()), plan.seed, number])
        yield 255 - draw_by_chance(write_form(name, random), random)


def _measure_form(name: str, mlp: MLP, threshold: float, output: OutputKind, plan: FormsPlan) -> GroupResult:
    examples = form_examples(name, plan, mlp.shape)
    results = Results.of(mlp, output, examples)
    evaluation = Evaluation.of(results.taken_for, examples.labels)
    return _group(name, evaluation, examples, results, threshold, DIGITS)


def _group(
    name: str,
    evaluation: Evaluation,
    examples: Examples,
    results: Results,
    threshold: float,
    classes: tuple[str, ...],
) -> GroupResult:
    hardest = find_mistakes(examples, results, MOST_SHOWN, classes, smallest_loss=0.0)
    return GroupResult(name, evaluation, float((results.novelty <= threshold).mean()), tuple(hardest))
