"""Draws what is inside a model: an explanation, a layer's parameters, and two predictions side by side.

Colours are those of `plot`: red above zero, blue below, white at zero. Everything stands on white paper.
"""

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from vitrine.client.drawable import draws
from vitrine.client.drawing.layout import MARGIN, Box, grid_shape, panel_shape
from vitrine.client.drawing.plot import (
    COLOUR_MAP,
    INK,
    LINE,
    NEGATIVE,
    OTHER,
    PALE,
    POSITIVE,
    bare,
    draw_cells,
    draw_scale,
    maps_side_by_side,
    new_axes,
    new_figure,
    range_text,
    title_panel,
    write,
    write_figure,
)
from vitrine.client.types import Explanation, Floats, Parameters, Prediction
from vitrine.model import Shape
from vitrine.model.labels import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURE_SIDE = 3.0
"""Longer side of an explanation's pictures, in inches."""

MOST_UNITS = 1024
"""Units whose weights are drawn; of a wider layer, the first ones."""

WEIGHTS_SIDE = 9.0
"""Longer side of the picture of a layer's weights, in inches."""

ROW_HEIGHT, ROW_GAP = 1.6, 0.65
"""Height of a layer in a comparison, and the space above it."""

COMPARED_WIDTH = 2.6
"""Width of each of the three columns of a comparison."""

LABEL_LENGTH = 24
"""Characters of a label in a title."""


@draws(Explanation)
def draw_explanation(explanation: Explanation, title: str | None = None) -> "Figure":
    """Draws an explanation: the pixels, their shares of the score, and how these add up; returns matplotlib's figure.

    Raises:
        UsageError: matplotlib is missing.
    """
    height, width = _fitted(explanation.pixels.shape, PICTURE_SIDE)
    pixels = Box(MARGIN, 0.75, width, height)
    shares = Box(pixels.right + 0.6, 0.75, width, height)
    sums = Box(shares.right + 1.1, 0.75, 2.4, height)
    figure = new_figure(sums.right + MARGIN, height + 2.2)
    top = height + 2.2 - MARGIN
    label = shorten(explanation.label, LABEL_LENGTH)
    write(figure, MARGIN, top, title or f"What speaks for {label}", size=17, weight="bold", va="top")
    method = explanation.method.replace("_", " ")
    write(figure, MARGIN, top - 0.36, f"{method} · {explanation.model.label}", size=9, color=PALE, va="top")
    axes = new_axes(figure, pixels)
    axes.imshow(explanation.pixels, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    bare(axes)
    title_panel(figure, pixels, "pixels", explanation.pixels.size, "what the model gets")
    reach = float(np.abs(explanation.contributions).max()) or 1.0
    axes = new_axes(figure, shares)
    axes.imshow(
        explanation.contributions, cmap=COLOUR_MAP, vmin=-reach, vmax=reach, interpolation="nearest", aspect="auto"
    )
    ink = explanation.pixels > 0.5
    if ink.any() and not ink.all():
        axes.contour(ink, levels=[0.5], colors=PALE, linewidths=0.6)
    bare(axes)
    title_panel(figure, shares, "contributions", explanation.contributions.size, "red speaks for it, blue against it")
    draw_scale(figure, Box(shares.left, 0.4, shares.width, 0.1), reach)
    _draw_sums(figure, sums, explanation)
    return figure


def _draw_sums(figure: "Figure", box: Box, explanation: Explanation) -> None:
    """Draws what adds up to the score, as bars."""
    shares = explanation.contributions
    names = ["pixels for it", "pixels against it", "bias", "score"]
    values = [float(shares[shares > 0].sum()), float(shares[shares < 0].sum()), explanation.bias, explanation.score]
    axes = new_axes(figure, box)
    axes.barh(names, values, color=[*(POSITIVE if value > 0 else NEGATIVE for value in values[:3]), INK])
    for row, value in enumerate(values):
        text = f"{value:+.2f}".replace("-", "−")
        axes.annotate(text, (max(value, 0), row), (4, 0), textcoords="offset points", size=9, color=INK, va="center")
    axes.axvline(0, color=PALE, linewidth=0.8)
    axes.invert_yaxis()
    axes.margins(x=0.25)
    axes.set_xticks([])
    axes.tick_params(length=0, labelsize=9, colors=PALE)
    axes.spines[:].set_visible(False)
    title_panel(figure, box, "sum", len(values) - 1, "these three add up to the score")


@draws(Parameters)
def draw_parameters(parameters: Parameters, title: str | None = None, shape: Shape | None = None) -> "Figure":
    """Draws each unit's weights as a picture, and its bias below; returns matplotlib's figure.

    Args:
        parameters: the parameters of a linear layer. Of more than 1024 units, the first are drawn.
        title: title of the figure; None: the layer and its shape.
        shape: height and width of a unit's picture; None: nearly square, as the pixels of digits are.

    Raises:
        UsageError: matplotlib is missing.
    """
    weight = parameters.weight[:MOST_UNITS]  # (units, width of what it reads)
    shape = shape or grid_shape(weight.shape[1])
    pictures = np.full((len(weight), shape[0] + 1, shape[1] + 1), np.nan, np.float32)  # a line between two
    flat = np.full((len(weight), shape[0] * shape[1]), np.nan, np.float32)
    flat[:, : weight.shape[1]] = weight
    pictures[:, :-1, :-1] = flat.reshape(len(weight), *shape)
    cells = maps_side_by_side(pictures)
    height, width = _fitted(cells.shape, WEIGHTS_SIDE)
    biases = Box(MARGIN, 0.55, width, 0.7)
    box = Box(MARGIN, biases.top + 1.0, width, height)
    figure = new_figure(width + 2 * MARGIN, box.top + 1.35)
    top = box.top + 1.35 - MARGIN
    shown = f"{parameters.layer}: the weights of {len(parameters.bias):,} units"
    write(figure, MARGIN, top, title or shown, size=17, weight="bold", va="top")
    first = f", the first {MOST_UNITS:,} of them" if len(parameters.bias) > MOST_UNITS else ""
    note = f"{parameters.model.label}, unit 0 at the upper left, row by row{first}"
    write(figure, MARGIN, top - 0.36, note, size=9, color=PALE, va="top")
    reach = float(np.quantile(np.abs(weight), 0.999)) or 1.0
    axes = new_axes(figure, box)
    axes.imshow(cells, cmap=COLOUR_MAP, vmin=-reach, vmax=reach, interpolation="nearest", aspect="auto")
    bare(axes)
    draw_scale(figure, Box(MARGIN, box.bottom - 0.25, min(width, 3.0), 0.1), reach)
    axes = new_axes(figure, biases)
    colours = [POSITIVE if value > 0 else NEGATIVE for value in parameters.bias]
    axes.bar(range(len(parameters.bias)), parameters.bias, color=colours)
    axes.axhline(0, color=PALE, linewidth=0.8)
    axes.set_xlim(-0.5, len(parameters.bias) - 0.5)
    bare(axes)
    write(figure, MARGIN, 0.3, f"biases, {range_text(parameters.bias)}", size=9, color=PALE, va="top")
    return figure


def compare(
    first: Prediction, second: Prediction, path: str | os.PathLike[str] | None = None, *, title: str | None = None
) -> Any:
    """Draws two predictions of one model side by side, layer by layer; returns matplotlib's `Figure`.

    With `compare(prediction.baseline, prediction)`, one sees what interventions change.

    Args:
        first: the prediction at the left.
        second: the prediction in the middle; the right column is `second − first`.
        path: a file for the figure, too: .png, .pdf or .svg; None: none is written.
        title: title of the figure; None: both labels with their probabilities.

    Raises:
        UsageError: matplotlib is missing, or the file can't be written.
    """
    *names, output = first.activations.layers or ("",)  # the output layer is drawn as bars
    layers = [name for name in names if name in first.activations and name in second.activations]
    layers = [name for name in layers if first.activations[name].shape == second.activations[name].shape]
    rows = len(layers) + 1
    height = rows * (ROW_HEIGHT + ROW_GAP) + 1.65
    figure = new_figure(3 * COMPARED_WIDTH + 2 * 0.5 + 2 * MARGIN, height)
    shown = " and ".join(f"{shorten(one.label, LABEL_LENGTH)} at {one.probability:.1%}" for one in (first, second))
    write(figure, MARGIN, height - MARGIN, title or shown, size=17, weight="bold", va="top")
    write(figure, MARGIN, height - MARGIN - 0.36, f"{first.model.label}", size=9, color=PALE, va="top")
    for row, name in enumerate(layers):
        bottom = height - 1.2 - (row + 1) * (ROW_HEIGHT + ROW_GAP)
        values = first.activations[name], second.activations[name]
        picture = first.input.shape if first.has_pixels and first.pixels.size == values[0].size and not row else None
        _draw_three(figure, bottom, name, *values, picture or values[0].shape)
    bottom = height - 1.2 - rows * (ROW_HEIGHT + ROW_GAP)
    for column, one in enumerate((first, second)):
        _draw_bars(figure, _place(column, bottom), one, output or "output")
    _draw_change(figure, _place(2, bottom), first, second)
    if path is not None:
        write_figure(figure, path)
    return figure


def _place(column: int, bottom: float) -> Box:
    return Box(MARGIN + column * (COMPARED_WIDTH + 0.5), bottom, COMPARED_WIDTH, ROW_HEIGHT)


def _draw_three(figure: "Figure", bottom: float, name: str, first: Floats, second: Floats, shape: Shape) -> None:
    """Draws a layer's activations of both predictions and the difference, in one scale."""
    reach = max(float(np.abs(first).max()), float(np.abs(second).max())) or 1.0
    changed = int(np.count_nonzero(np.abs(second - first) > 1e-6 * reach))
    remarks = (range_text(first), range_text(second), f"{changed:,} of {first.size:,} units differ")
    for column, (values, remark) in enumerate(zip((first, second, second - first), remarks, strict=True)):
        place = _place(column, bottom)
        rows, columns = panel_shape(shape)
        width = min(place.width, place.height * columns / rows)
        box = Box(place.left + (place.width - width) / 2, bottom, width, width * rows / columns)
        draw_cells(figure, box, values.reshape(shape), reach)
        title_panel(figure, box, name if column < 2 else "difference", values.size, remark)


def _draw_bars(figure: "Figure", box: Box, prediction: Prediction, name: str) -> None:
    values = prediction.probabilities
    axes = new_axes(figure, box)
    colours = [INK if index == prediction.index else OTHER for index in range(len(values))]
    axes.bar(range(len(values)), values, color=colours)
    axes.set_ylim(0, 1)
    _label_classes(axes, prediction)
    title_panel(figure, box, name, len(values), f"{shorten(prediction.label, 12)} at {prediction.probability:.1%}")


def _draw_change(figure: "Figure", box: Box, first: Prediction, second: Prediction) -> None:
    change = second.probabilities - first.probabilities
    axes = new_axes(figure, box)
    axes.bar(range(len(change)), change, color=[POSITIVE if value > 0 else NEGATIVE for value in change])
    axes.axhline(0, color=PALE, linewidth=0.8)
    axes.set_ylim(-1, 1)
    _label_classes(axes, second)
    title_panel(figure, box, "difference", len(change), "of the probabilities")


def _label_classes(axes: "Axes", prediction: Prediction) -> None:
    few = len(prediction.classes) <= 12
    axes.set_xticks(range(len(prediction.classes)) if few else [prediction.index])
    labels = prediction.classes if few else (prediction.label,)
    axes.set_xticklabels([shorten(label, 6) for label in labels], size=8, color=PALE)
    axes.tick_params(length=0, labelsize=8, colors=PALE)
    axes.spines[:].set(color=LINE, linewidth=0.8)


def _fitted(shape: Shape, side: float) -> tuple[float, float]:
    """Height and width in inches of a picture whose longer side is this long."""
    scale = side / max(shape)
    return shape[0] * scale, shape[1] * scale
