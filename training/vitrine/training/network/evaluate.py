"""Evaluation of a network on examples: its error, and its confusion of classes. It knows no run and no file."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitrine.model import DIGITS, LayerKind
from vitrine.training.data import Examples
from vitrine.training.network.mlp import MLP

CHUNK = 4096
"""Examples that are calculated at a time: bounds the memory."""

MOST_IN_MATRIX = 64
"""Classes up to which JSON has the whole confusion matrix: that of 1,000 takes 11 MB, nearly all of them zeros."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The predictions of a network for examples, counted."""

    confusion: npt.NDArray[np.int64]
    """int64 (C, C): the number of examples of the row's class that were taken for the column's."""
    classes: tuple[str, ...] = DIGITS
    """The label of every class."""

    @classmethod
    def of(
        cls, taken_for: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], classes: tuple[str, ...] = DIGITS
    ) -> Self:
        """Counts examples by the class that they were taken for and the class that they show, int64 (N,) each."""
        confusion = np.zeros((len(classes), len(classes)), np.int64)
        np.add.at(confusion, (labels, taken_for), 1)
        return cls(confusion, classes)

    @property
    def count(self) -> int:
        """The number of examples."""
        return int(self.confusion.sum())

    @property
    def errors(self) -> int:
        """The number of misclassified examples."""
        return self.count - int(self.confusion.trace())

    @property
    def error(self) -> float:
        """The share of misclassified examples, 0 to 1."""
        return self.errors / self.count

    @property
    def accuracy(self) -> float:
        """The share of rightly classified examples, 0 to 1."""
        return 1 - self.error

    @property
    def recall(self) -> dict[str, float]:
        """By class: the share of its examples that were recognised, 0 to 1; NaN without examples."""
        return self._shares(self.confusion.sum(axis=1))

    @property
    def precision(self) -> dict[str, float]:
        """By class: the share of right ones among the examples that were taken for it, 0 to 1; NaN without any."""
        return self._shares(self.confusion.sum(axis=0))

    def _shares(self, totals: npt.NDArray[np.int64]) -> dict[str, float]:
        hits = self.confusion.diagonal()
        return {
            label: float(hit / total) if total else float("nan")
            for label, hit, total in zip(self.classes, hits, totals, strict=True)
        }

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON; shares that aren't defined are None.

        With more than `MOST_IN_MATRIX` classes, `confusion` is left out, and `confusion_by_label` has its counts
        above 0: of each label, by the label that was predicted.
        """
        recall, precision = self.recall, self.precision
        return {
            "count": self.count,
            "errors": self.errors,
            "error": self.error,
            "accuracy": self.accuracy,
            "classes": {
                label: {
                    "count": int(row.sum()),
                    "recall": _none_for_nan(recall[label]),
                    "precision": _none_for_nan(precision[label]),
                }
                for label, row in zip(self.classes, self.confusion, strict=True)
            },
            **self._confusion_document(),
        }

    def _confusion_document(self) -> dict[str, Any]:
        if len(self.classes) <= MOST_IN_MATRIX:
            return {"confusion": self.confusion.tolist()}
        counts: dict[str, dict[str, int]] = {label: {} for label in self.classes}
        for row, column in np.argwhere(self.confusion):
            counts[self.classes[row]][self.classes[column]] = int(self.confusion[row, column])
        return {"confusion_by_label": counts}


def evaluate(mlp: MLP, examples: Examples, classes: tuple[str, ...] = DIGITS) -> Evaluation:
    """Classifies examples with `mlp`, on the CPU, and counts.

    Args:
        mlp: the network, on the CPU.
        examples: at least one.
        classes: the label of every class.
    """
    return Evaluation.of(classify(mlp, examples), examples.labels, classes)


def classify(mlp: MLP, examples: Examples) -> npt.NDArray[np.int64]:
    """The position of the class that `mlp`, on the CPU, gives each example: int64 (N,)."""
    taken_for: npt.NDArray[np.int64] = calculate_logits(mlp, torch.tensor(examples.pixels)).argmax(dim=1).numpy()
    return taken_for


def evaluate_by_source(
    taken_for: npt.NDArray[np.int64], examples: Examples, classes: tuple[str, ...] = DIGITS
) -> dict[str, Evaluation]:
    """Counts predictions, int64 (N,), by the source of their examples; none for examples of a single source."""
    if examples.sources is None:
        return {}
    return {
        name: Evaluation.of(taken_for[members], examples.labels[members], classes)
        for name, members in examples.members().items()
    }


def percent(share: float) -> str:
    """A share, 0 to 1, for people: a dash where it isn't defined."""
    return "–" if np.isnan(share) else f"{share:.2%}"


def calculate_logits(mlp: MLP, pixels: Tensor) -> Tensor:
    """The last linear layer's activations: (N, height, width), 0 to 255, to float32 (N, C), a chunk at a time."""
    with torch.inference_mode():
        return torch.cat([mlp(chunk) for chunk in torch.split(pixels, CHUNK)])


def probabilities_of(mlp: MLP, logits: Tensor) -> npt.NDArray[np.float32]:
    """The output layer's activations for the logits of `calculate_logits`: float32 (N, C) to float32 (N, C)."""
    softmax = mlp.layers[-1].kind is LayerKind.SOFTMAX
    outputs = torch.softmax(logits, dim=1) if softmax else torch.sigmoid(logits)
    probabilities: npt.NDArray[np.float32] = outputs.numpy()
    return probabilities


def _none_for_nan(share: float) -> float | None:
    return None if np.isnan(share) else share
