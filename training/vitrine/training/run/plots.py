"""Draws the learning curve and the confusion matrix of a run as PNG.

It creates its own figures, and uses neither matplotlib's global state nor a window system.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from vitrine.training.files.atomic import atomic_file
from vitrine.training.network.evaluate import Evaluation
from vitrine.training.run.checkpoint import Epoch

TRAINING, VALIDATION, MARKED = "#8a94a6", "#1f5fbf", "#c8553d"
"""Colours that remain distinguishable for colour-blind readers and in greyscale."""

DPI = 150
"""Resolution of the pictures, in dots per inch."""


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
    """Writes the confusion matrix: counts as numbers, shares of each row as colours."""
    figure = Figure(figsize=(6.5, 6.5), layout="constrained")
    axes = figure.subplots()
    classes = evaluation.classes
    shares = evaluation.confusion / np.maximum(evaluation.confusion.sum(axis=1, keepdims=True), 1)  # (C, C)
    axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)  # square root: rare mistakes stay visible
    for (row, column), count in np.ndenumerate(evaluation.confusion):
        if count:
            axes.text(column, row, f"{count:,}", **_text_style(row == column, shares[row, column]))
    axes.set_xticks(range(len(classes)), classes, parse_math=False)  # a label's dollar signs are no formula
    axes.set_yticks(range(len(classes)), classes, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("label")
    axes.set_title(f"{evaluation.errors:,} of {evaluation.count:,} misclassified", loc="left", fontsize=11)
    axes.set_xticks(np.arange(0.5, len(classes) - 1), minor=True)
    axes.set_yticks(np.arange(0.5, len(classes) - 1), minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    save(figure, path)


def _text_style(right: bool, share: float) -> dict[str, Any]:
    colour = "white" if share > 0.3 else "#22304a"
    return {
        "ha": "center",
        "va": "center",
        "fontsize": 9,
        "color": colour if right or share > 0.3 else MARKED,
        "weight": "normal" if right else "bold",
    }


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, atomically."""
    FigureCanvasAgg(figure)
    with atomic_file(path) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a label's character becomes a box
        figure.savefig(file, format="png", dpi=DPI)
