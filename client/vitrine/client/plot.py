"""Draws a prediction as a figure: the pixels at the left, every layer's activations, the probabilities at the right.

Each hidden layer is a column: its linear layer above, its ReLU below, unit for unit at the same place and in the same
colours, so that one sees what the ReLU keeps (red, positive) and what it sets to zero (blue, negative). The area of a
layer grows with its width. Needs the extra `plot` (matplotlib), imported only when something is drawn, and none of
matplotlib's global state, so threads may draw at the same time.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vitrine.client.errors import UsageError
from vitrine.client.layout import MARGIN, Box, Column, Layout, arrange, grid_shape
from vitrine.client.types import Floats, Prediction
from vitrine.model import PIXELS_SHAPE
from vitrine.model.distribution import install_command

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
"""Dots per inch of the PNG."""

INK, PALE, LINE = "#1f2328", "#6e7781", "#d0d7de"
"""The colours of text, of secondary text and of lines."""

POSITIVE, NEGATIVE, OTHER = "#b2182b", "#2166ac", "#b6bec7"
"""The colours of bars: the ends of the map below, and of the classes that weren't predicted."""

COLOUR_MAP = "RdBu_r"
"""Blue below zero, white at zero, red above: the colour-blind tell them apart."""

SEEN_CELL = 0.06
"""The side, in inches, from which cells are parted by lines; smaller ones would drown in them."""


def plot_prediction(prediction: Prediction, path: str | os.PathLike[str], *, title: str | None = None) -> None:
    """Draws a prediction and writes the figure to a file.

    Args:
        prediction: what to draw; layers whose activations it lacks, or whose kind only a newer Vitrine knows, are left
            out.
        path: the file; its suffix says the format: .png, .pdf or .svg.
        title: what stands above; None: the digit and its probability, and that it is no digit where it is none.

    Raises:
        UsageError: matplotlib is missing, or the file can't be written.
    """
    figure = draw_prediction(prediction, title=title)
    try:
        figure.savefig(Path(path), dpi=DPI, facecolor="white")
    except (OSError, ValueError) as error:
        raise UsageError(f"can't write the figure to {os.fspath(path)}: {error}") from error


def draw_prediction(prediction: Prediction, *, title: str | None = None) -> "Figure":
    """Draws a prediction; gives matplotlib's figure, to be changed or saved.

    Raises:
        UsageError: matplotlib is missing.
    """
    check_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layout = arrange(prediction)
    figure = Figure(figsize=(layout.width, layout.height))
    FigureCanvasAgg(figure)
    _draw_header(figure, layout, prediction, title)
    if layout.pixels is not None:
        _draw_pixels(figure, layout.pixels, prediction.activations["input"])
    for column in layout.columns:
        _draw_column(figure, column, prediction.activations)
    _draw_output(figure, layout, prediction)
    return figure


def check_matplotlib() -> None:
    """Raises `UsageError` where matplotlib isn't installed; it says how to install it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError(f"drawing needs matplotlib: {install_command('plot')}") from error


def _draw_header(figure: "Figure", layout: Layout, prediction: Prediction, title: str | None) -> None:
    top, left = layout.height - MARGIN, MARGIN
    no_digit = " · no digit" if prediction.is_digit is False else ""
    shown = title or f"{prediction.digit} · {prediction.probability:.1%}{no_digit}"
    model = prediction.model
    _write(figure, left, top, shown, size=19, weight="bold", va="top")
    _write(figure, left, top - 0.38, f"{model.name} · {model.version} · {model.provider}", size=9, color=PALE, va="top")


def _draw_pixels(figure: "Figure", box: Box, values: Floats) -> None:
    axes = _axes(figure, box)
    axes.imshow(values.reshape(PIXELS_SHAPE), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    _bare(axes)
    _title(
        figure, box, "input", len(values), f"{PIXELS_SHAPE[0]} × {PIXELS_SHAPE[1]} pixels, {np.mean(values):.0%} ink"
    )


def _draw_column(figure: "Figure", column: Column, activations: Mapping[str, Floats]) -> None:
    """A hidden layer: both panels in one scale, zero in the middle."""
    reach = max((float(np.abs(activations[name]).max()) for name in column.panels), default=0.0) or 1.0
    for name, box in column.panels.items():
        values = activations[name]
        _draw_cells(figure, box, values, reach)
        signed = name.startswith("linear")
        _title(figure, box, name, len(values), _range(values) if signed else f"{np.mean(values == 0):.0%} zero")
    _draw_scale(figure, column.scale, reach)


def _draw_cells(figure: "Figure", box: Box, values: Floats, reach: float) -> None:
    rows, columns = grid_shape(len(values))
    cells = np.full(rows * columns, np.nan, np.float32)
    cells[: len(values)] = values
    axes = _axes(figure, box)
    axes.imshow(
        cells.reshape(rows, columns), cmap=COLOUR_MAP, vmin=-reach, vmax=reach, interpolation="nearest", aspect="auto"
    )
    if box.width / columns >= SEEN_CELL:
        axes.vlines(np.arange(1, columns) - 0.5, -0.5, rows - 0.5, LINE, linewidth=0.5)
        axes.hlines(np.arange(1, rows) - 0.5, -0.5, columns - 0.5, LINE, linewidth=0.5)
    _bare(axes)


def _draw_scale(figure: "Figure", box: Box, reach: float) -> None:
    axes = _axes(figure, box)
    axes.imshow(np.linspace(-1, 1, 256)[None], cmap=COLOUR_MAP, aspect="auto", extent=(-reach, reach, 0, 1))
    _bare(axes)
    axes.set_xticks([-reach, 0, reach], [f"−{reach:.1f}", "0", f"{reach:.1f}"], size=7.5, color=PALE)
    axes.tick_params(length=0, pad=2)


def _draw_output(figure: "Figure", layout: Layout, prediction: Prediction) -> None:
    if layout.scores is not None:
        name, box = layout.scores
        _draw_scores(figure, box, name, prediction.activations[name])
    _draw_probabilities(figure, layout.probabilities, layout.output, prediction)


def _draw_scores(figure: "Figure", box: Box, name: str, values: Floats) -> None:
    axes = _axes(figure, box)
    axes.bar(range(len(values)), values, color=[NEGATIVE if value < 0 else POSITIVE for value in values])
    axes.axhline(0, color=PALE, linewidth=0.8)
    _chart(axes, len(values))
    axes.spines[:].set_visible(False)  # the line at zero is the axis
    axes.locator_params(axis="y", nbins=5)
    _title(figure, box, name, len(values), _range(values))


def _draw_probabilities(figure: "Figure", box: Box, name: str, prediction: Prediction) -> None:
    values, digit = prediction.probabilities, prediction.digit
    axes = _axes(figure, box)
    axes.bar(range(len(values)), values, color=[INK if i == digit else OTHER for i in range(len(values))])
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    _chart(axes, len(values))
    axes.get_xticklabels()[digit].set(weight="bold", color=INK)
    _title(figure, box, name, len(values), f"{digit} at {prediction.probability:.1%}")


def _chart(axes: "Axes", classes: int) -> None:
    """A bar chart's frame: a label for every class, and lines that don't shout."""
    axes.set_xticks(range(classes))
    axes.tick_params(length=0, labelsize=9, colors=PALE)
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.spines["bottom"].set(visible=True, color=PALE)


def _range(values: Floats) -> str:
    return f"{values.min():.1f} to {values.max():.1f}".replace("-", "−")


def _axes(figure: "Figure", box: Box) -> "Axes":
    width, height = figure.get_size_inches()
    return figure.add_axes((box.left / width, box.bottom / height, box.width / width, box.height / height))


def _bare(axes: "Axes") -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(color=LINE, linewidth=0.8)


def _title(figure: "Figure", box: Box, name: str, width: int, remark: str) -> None:
    middle, top = box.left + box.width / 2, box.bottom + box.height
    _write(figure, middle, top + 0.26, f"{name} · {width}", size=10.5, weight="bold", ha="center")
    _write(figure, middle, top + 0.09, remark, size=8, color=PALE, ha="center")


def _write(figure: "Figure", x: float, y: float, text: str, **style: Any) -> None:
    width, height = figure.get_size_inches()
    figure.text(x / width, y / height, text, **{"color": INK, **style})
