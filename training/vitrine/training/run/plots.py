"""Draws the learning curve and the confusion matrix of a run as PNG.

It creates its own figures, and uses neither matplotlib's global state nor a window system.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from vitrine.model.labels import shorten
from vitrine.training.files.atomic import atomic_file
from vitrine.training.network.evaluate import Evaluation
from vitrine.training.run.checkpoint import Epoch

TRAINING, VALIDATION, MARKED = "#8a94a6", "#1f5fbf", "#c8553d"
"""Colours that remain distinguishable for colour-blind readers and in greyscale."""

DPI = 150
"""Resolution of the pictures, in dots per inch."""

SIDE, SIDE_PER_CLASS, SIDE_WITHOUT_TEXT = 6.5, 0.3, 10
"""Inches: the confusion matrix's side with `FEW` classes, each further class's share, and the side without text."""

FEW = 12
"""Classes up to which the confusion matrix keeps its side and large numbers."""

MOST_WRITTEN = 60
"""Classes up to which the confusion matrix has numbers and labels; of more, nobody could read them."""

LONGEST_TICK = 16
"""Characters of a label on an axis."""

CHARACTER_WIDTH = 0.08
"""Width of a character on an axis, in inches."""


def draw_learning_curve(history: Sequence[Epoch], kept: Epoch, path: Path) -> None:
    """Writes loss and validation error by epoch, with the kept epoch marked."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, error = figure.subplots(1, 2)
    numbers = [epoch.number for epoch in history]
    loss.plot(numbers, [epoch.training_loss for epoch in history], color=TRAINING, label="training, augmented")
    loss.plot(numbers, [epoch.validation_loss for epoch in history], color=VALIDATION, label="validation")
    error.plot(numbers, [100 * epoch.validation_error for epoch in history], color=VALIDATION, label="validation")
    _mark(loss, kept, kept.validation_loss)
    _mark(error, kept, 100 * kept.validation_error)
    _style(loss, "Loss")
    _style(error, "Error, %")
    save(figure, path)


def _mark(axes: Axes, kept: Epoch, value: float) -> None:
    axes.plot([kept.number], [value], "o", color=MARKED, label=f"kept: epoch {kept.number}, {value:.3g}")


def _style(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("epoch")
    if _spans_decades(axes):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#e6e8ec", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)


def _spans_decades(axes: Axes) -> bool:
    """True for positive values that span more than a factor of ten: a logarithmic axis is clearer."""
    values = np.concatenate([np.asarray(line.get_ydata(), np.float64) for line in axes.get_lines()])
    return bool(values.min() > 0 and values.max() > 10 * values.min())


def draw_confusion_matrix(evaluation: Evaluation, path: Path) -> None:
    """Writes the confusion matrix: counts as numbers, shares of each row as colours.

    The figure grows with the number of classes. With more than `MOST_WRITTEN`, it has colours only.
    """
    confusion, count = evaluation.confusion, len(evaluation.classes)
    side = SIDE + max(0, count - FEW) * SIDE_PER_CLASS if count <= MOST_WRITTEN else SIDE_WITHOUT_TEXT
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)  # (C, C)
    axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)  # square root: rare mistakes stay visible
    axes.set_xlabel("predicted")
    axes.set_ylabel("label")
    axes.set_title(f"{evaluation.errors:,} of {evaluation.count:,} misclassified", loc="left", fontsize=11)
    if count <= MOST_WRITTEN:
        _write_counts(axes, confusion, shares)
        _write_labels(axes, evaluation.classes, side / count)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(count > MOST_WRITTEN)
    save(figure, path)


def _write_counts(axes: Axes, confusion: npt.NDArray[np.int64], shares: npt.NDArray[np.float64]) -> None:
    for row, column in np.argwhere(confusion):
        style = _text_style(row == column, shares[row, column], len(confusion))
        axes.text(column, row, f"{confusion[row, column]:,}", **style)
    between = np.arange(0.5, len(confusion) - 1)
    axes.set_xticks(between, minor=True)
    axes.set_yticks(between, minor=True)
    axes.grid(which="minor", color="white", linewidth=2 if len(confusion) <= FEW else 1)


def _write_labels(axes: Axes, classes: tuple[str, ...], cell: float) -> None:
    labels = [shorten(label, LONGEST_TICK) for label in classes]
    upright = max(map(len, labels)) * CHARACTER_WIDTH > 0.8 * cell
    # A label's dollar signs are no formula.
    axes.set_xticks(range(len(labels)), labels, parse_math=False, rotation=90 if upright else 0)
    axes.set_yticks(range(len(labels)), labels, parse_math=False)


def _text_style(right: bool, share: float, classes: int) -> dict[str, Any]:
    colour = "white" if share > 0.3 else "#22304a"
    return {
        "ha": "center",
        "va": "center",
        "fontsize": 9 if classes <= FEW else 7,
        "color": colour if right or share > 0.3 else MARKED,
        "weight": "normal" if right else "bold",
    }


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, atomically."""
    FigureCanvasAgg(figure)
    with atomic_file(path) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a label's character becomes a box
        figure.savefig(file, format="png", dpi=DPI)
