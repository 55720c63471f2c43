"""The contact sheet: a picture of the changed images, each with its answers then and now."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vitrine.bulk.replay.comparison import Change, Comparison
from vitrine.bulk.replay.report import answer_of
from vitrine.client.drawing.layout import MARGIN, Box
from vitrine.client.drawing.plot import INK, NEGATIVE, PALE, POSITIVE, bare, new_axes, new_figure, write, write_figure
from vitrine.model.labels import shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_PICTURES, COLUMNS = 96, 12
"""Images on a sheet, and in one of its rows."""

SIDE, CAPTION, GAP = 0.8, 0.42, 0.16
"""Longer side of an image, height of its captions, and space between two, in inches."""

HEADER = 1.15
"""Height of the title."""


def write_sheet(comparison: Comparison, path: Path) -> None:
    """Writes the contact sheet to a file, whose suffix is the format.

    Raises:
        UsageError: matplotlib is missing, or the file can't be written.
    """
    write_figure(draw_sheet(comparison), path)


def draw_sheet(comparison: Comparison) -> "Figure":
    """Draws the changed images with the largest differences; returns matplotlib's figure.

    Raises:
        UsageError: matplotlib is missing.
    """
    changes = comparison.changes[:MOST_PICTURES]
    rows = max(1, -(-len(changes) // COLUMNS))
    width, height = COLUMNS * (SIDE + GAP) - GAP + 2 * MARGIN, HEADER + rows * (SIDE + CAPTION + GAP) + MARGIN
    figure = new_figure(width, height)
    top = height - MARGIN
    models = shorten(", ".join(comparison.by_model), 60)
    title = f"{comparison.changed:,} of {comparison.images:,} images have another answer"
    write(figure, MARGIN, top, title, size=15, weight="bold", va="top")
    shown = f"the {len(changes):,} with the largest differences · " if len(changes) < comparison.changed else ""
    legend = f"{shown}first line: {models} · second line: {comparison.model.label}"
    write(
        figure,
        MARGIN,
        top - 0.5,
        "red: another class · blue: another judgement · ✕: none of the classes",
        size=8,
        color=PALE,
        va="top",
    )
    write(figure, MARGIN, top - 0.32, legend, size=8, color=PALE, va="top")
    for place, change in enumerate(changes):
        row, column = divmod(place, COLUMNS)
        left, upper = MARGIN + column * (SIDE + GAP), height - HEADER - row * (SIDE + CAPTION + GAP)
        _draw_change(figure, Box(left, upper - SIDE, SIDE, SIDE), change)
    return figure


def _draw_change(figure: "Figure", box: Box, change: Change) -> None:
    axes = new_axes(figure, box)
    axes.imshow(np.asarray(change.pixels), cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
    bare(axes)
    colour = POSITIVE if change.label != change.captured_label else NEGATIVE
    captions = (
        (change.captured_label, change.captured_probability, change.captured_is_digit, INK),
        (change.label, change.probability, change.is_digit, colour),
    )
    for line, (label, probability, is_digit, shade) in enumerate(captions):
        text = answer_of(shorten(label, 8), probability, is_digit).replace("(no digit)", "✕")
        write(
            figure,
            box.left + box.width / 2,
            box.bottom - 0.08 - 0.15 * line,
            text,
            size=7.5,
            color=shade,
            ha="center",
            va="top",
        )
