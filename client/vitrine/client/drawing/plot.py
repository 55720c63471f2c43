"""Draws a prediction as a figure: pixels at the left, activations of every layer, probabilities at the right.

Each hidden layer is a column: its linear layer above, its activation function below, unit for unit at the same place
and in the same colours. One sees what a ReLU keeps (red, positive) and what it sets to zero (blue, negative). The area
of a layer grows with its width. Drawing needs the extra `plot` (matplotlib), which is imported only then. It uses none
of matplotlib's global state, so that threads may draw at the same time.
"""

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vitrine.client.drawable import draws, writes
from vitrine.client.drawing.layout import MARGIN, Box, Column, Layout, Ticks, arrange, grid_shape, has_maps
from vitrine.client.errors import UsageError
from vitrine.client.types import Activations, Floats, Prediction, rejection_of
from vitrine.model import LayerKind
from vitrine.model.distribution import install_command
from vitrine.model.drawing import load_matplotlib
from vitrine.model.graph import KINDS
from vitrine.model.labels import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
"""Dots per inch of the PNG."""

INK, PALE, LINE = "#1f2328", "#6e7781", "#d0d7de"
"""Colours of text, of secondary text and of lines."""

POSITIVE, NEGATIVE, OTHER = "#b2182b", "#2166ac", "#b6bec7"
"""Colours of bars: the ends of the map below, and grey for the classes that weren't predicted."""

COLOUR_MAP = "RdBu_r"
"""Blue below zero, white at zero, red above; readable for the colour-blind."""

MIN_LINED_CELL = 0.06
"""Least side, in inches, of cells with lines between them."""

MIN_BAR_WIDTH = 0.02
"""Least width of the predicted class's bar, in inches: among 1000 classes it would be too thin to see."""

MAX_TITLE_LENGTH = 40
"""Characters of a label in a title; longer ones are cut."""


def plot_prediction(prediction: Prediction, path: str | os.PathLike[str], *, title: str | None = None) -> None:
    """Draws a prediction and writes the figure to a file.

    Args:
        prediction: the prediction to draw. Layers without activations are left out, and layers of a kind that this
            version doesn't know.
        path: the file; its suffix is the format: .png, .pdf or .svg.
        title: title of the figure; None: the label and its probability, and "no digit" if `is_digit` is False.

    Raises:
        UsageError: matplotlib is missing, or the file can't be written.
    """
    write_figure(draw_prediction(prediction, title), path)


@writes
def write_figure(figure: "Figure", path: str | os.PathLike[str]) -> None:
    """Writes a figure to a file; its suffix is the format. The paper is white, so that it is right on dark pages.

    Raises:
        UsageError: the file can't be written.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # such a character becomes a box
            figure.savefig(Path(path), dpi=DPI, facecolor="white")
    except (OSError, ValueError) as error:
        raise UsageError(f"can't write the figure to {os.fspath(path)}: {error}") from error


@draws(Prediction)
def draw_prediction(prediction: Prediction, title: str | None = None) -> "Figure":
    """Draws a prediction; returns matplotlib's figure, to be changed or saved.

    Raises:
        UsageError: matplotlib is missing.
    """
    layout = arrange(prediction)
    figure = new_figure(layout.width, layout.height)
    _draw_header(figure, layout, prediction, title)
    if layout.pixels is not None:
        _draw_pixels(figure, layout.pixels, prediction)
    for column in layout.columns:
        _draw_column(figure, column, prediction.activations)
    _draw_output(figure, layout, prediction)
    return figure


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of this size in inches, outside of pyplot's global state.

    Raises:
        UsageError: matplotlib is missing.
    """
    check_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def check_matplotlib() -> None:
    """Raises `UsageError`, with the way to install it, if matplotlib is missing."""
    try:
        load_matplotlib()
    except ImportError as error:
        raise UsageError(f"drawing needs matplotlib: {install_command('plot')}") from error


def _draw_header(figure: "Figure", layout: Layout, prediction: Prediction, title: str | None) -> None:
    top, left = layout.height - MARGIN, MARGIN
    rejection = f" · {rejection_of(prediction.classes)}" if prediction.is_digit is False else ""
    label = shorten(prediction.label, MAX_TITLE_LENGTH)
    shown = title or f"{label} · {prediction.probability:.1%}{rejection}"
    model = prediction.model
    write(figure, left, top, shown, size=19, weight="bold", va="top")
    write(figure, left, top - 0.38, f"{model.name} · {model.version} · {model.provider}", size=9, color=PALE, va="top")


def _draw_pixels(figure: "Figure", box: Box, prediction: Prediction) -> None:
    picture = prediction.pixels
    axes = new_axes(figure, box)
    axes.imshow(picture, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    bare(axes)
    name = next(x.name for x in prediction.activations.layers.values() if x.kind is LayerKind.INPUT)
    height, width = picture.shape
    title_panel(figure, box, name, picture.size, f"{height} × {width} pixels, {np.mean(picture):.0%} ink")


def _draw_column(figure: "Figure", column: Column, activations: Activations) -> None:
    """Draws a hidden layer: its panels in one scale with zero in the middle."""
    reach = max((float(np.abs(activations[name]).max()) for name in column.panels), default=0.0) or 1.0
    for name, box in column.panels.items():
        values = activations[name]
        draw_cells(figure, box, values, reach)
        signed = KINDS[activations.layers[name].kind].signed
        remark = range_text(values) if signed else f"{np.mean(values == 0):.0%} zero"
        title_panel(figure, box, name, values.size, remark)
    draw_scale(figure, column.scale, reach)


def draw_cells(figure: "Figure", box: Box, values: Floats, reach: float) -> None:
    """Draws activations as cells, from −reach (blue) to reach (red)."""
    cells = maps_side_by_side(values) if has_maps(values.shape) else _units_in_a_grid(values)
    rows, columns = cells.shape
    axes = new_axes(figure, box)
    axes.imshow(cells, cmap=COLOUR_MAP, vmin=-reach, vmax=reach, interpolation="nearest", aspect="auto")
    if box.width / columns >= MIN_LINED_CELL:
        axes.vlines(np.arange(1, columns) - 0.5, -0.5, rows - 0.5, LINE, linewidth=0.5)
        axes.hlines(np.arange(1, rows) - 0.5, -0.5, columns - 0.5, LINE, linewidth=0.5)
    bare(axes)


def _units_in_a_grid(values: Floats) -> Floats:
    """The values row by row, float32 (rows, columns); a rest is NaN."""
    rows, columns = grid_shape(values.size)
    cells = np.full(rows * columns, np.nan, np.float32)
    cells[: values.size] = values.ravel()
    return cells.reshape(rows, columns)


def maps_side_by_side(values: Floats) -> Floats:
    """The maps of all channels, float32 ([channels,] height, width) to (rows · height, columns · width)."""
    height, width = values.shape[-2:]
    maps = values.reshape(-1, height, width)  # (channels, height, width)
    rows, columns = grid_shape(len(maps))
    cells = np.full((rows * columns, height, width), np.nan, np.float32)
    cells[: len(maps)] = maps
    return cells.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)


def draw_scale(figure: "Figure", box: Box, reach: float) -> None:
    """Draws the colours from −reach to reach."""
    axes = new_axes(figure, box)
    axes.imshow(np.linspace(-1, 1, 256)[None], cmap=COLOUR_MAP, aspect="auto", extent=(-reach, reach, 0, 1))
    bare(axes)
    axes.set_xticks([-reach, 0, reach], [f"−{reach:.1f}", "0", f"{reach:.1f}"], size=7.5, color=PALE)
    axes.tick_params(length=0, pad=2)


def _draw_output(figure: "Figure", layout: Layout, prediction: Prediction) -> None:
    if layout.scores is not None:
        name, box = layout.scores
        _draw_scores(figure, box, name, prediction, layout.ticks)
    _draw_probabilities(figure, layout.probabilities, layout.output, prediction, layout.ticks)


def _draw_scores(figure: "Figure", box: Box, name: str, prediction: Prediction, ticks: Ticks) -> None:
    values = prediction.activations[name]
    axes = new_axes(figure, box)
    axes.bar(range(len(values)), values, color=[NEGATIVE if value < 0 else POSITIVE for value in values])
    axes.axhline(0, color=PALE, linewidth=0.8)
    _chart(axes, len(values), ticks)
    axes.spines[:].set_visible(False)  # the line at zero is the axis
    axes.locator_params(axis="y", nbins=5)
    title_panel(figure, box, name, len(values), range_text(values))


def _draw_probabilities(figure: "Figure", box: Box, name: str, prediction: Prediction, ticks: Ticks) -> None:
    values, predicted = prediction.probabilities, prediction.index
    axes = new_axes(figure, box)
    axes.bar(range(len(values)), values, color=OTHER)
    width = max(0.8, MIN_BAR_WIDTH * len(values) / box.width)  # 1 is the distance of two bars
    axes.bar(predicted, values[predicted], width, color=INK)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    _chart(axes, len(values), ticks)
    axes.get_xticklabels()[ticks.positions.index(predicted)].set(weight="bold", color=INK)
    label = shorten(prediction.label, MAX_TITLE_LENGTH)
    title_panel(figure, box, name, len(values), f"{label} at {prediction.probability:.1%}")


def _chart(axes: "Axes", classes: int, ticks: Ticks) -> None:
    """Draws the frame of a bar chart: labels of classes, and pale lines."""
    axes.set_xlim(-0.5, classes - 0.5)
    axes.set_xticks(ticks.positions, ticks.labels, rotation=90 if ticks.rotated else 0, parse_math=False)
    axes.tick_params(length=0, labelsize=9, colors=PALE)
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.spines["bottom"].set(visible=True, color=PALE)


def range_text(values: Floats) -> str:
    """The least and the largest value."""
    return f"{values.min():.1f} to {values.max():.1f}".replace("-", "−")


def new_axes(figure: "Figure", box: Box) -> "Axes":
    """Axes that fill a box."""
    width, height = figure.get_size_inches()
    return figure.add_axes((box.left / width, box.bottom / height, box.width / width, box.height / height))


def bare(axes: "Axes") -> None:
    """Takes the ticks away, and leaves a pale frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(color=LINE, linewidth=0.8)


def title_panel(figure: "Figure", box: Box, name: str, width: int, remark: str) -> None:
    """Writes a name, a number of values and a remark above a box."""
    middle, top = box.left + box.width / 2, box.bottom + box.height
    write(figure, middle, top + 0.26, f"{name} · {width}", size=10.5, weight="bold", ha="center")
    write(figure, middle, top + 0.09, remark, size=8, color=PALE, ha="center")


def write(figure: "Figure", x: float, y: float, text: str, **style: Any) -> None:
    """Writes text as it stands: its dollar signs are no formula."""
    width, height = figure.get_size_inches()
    figure.text(x / width, y / height, text, parse_math=False, **{"color": INK, **style})
