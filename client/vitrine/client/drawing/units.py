"""One unit of a linear layer: its weights as text and as a figure, beside what it calculates for an image.

It knows the client's types, and neither calls a server nor prints.
"""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vitrine.client.drawing.layout import grid_shape
from vitrine.client.drawing.plot import COLOUR_MAP, check_matplotlib
from vitrine.client.drawing.terminal import can_show, render_signed, strips_in_ascii
from vitrine.client.errors import UsageError
from vitrine.client.types import Floats, Model, Parameters, Prediction
from vitrine.model import Layer, LayerKind

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150
"""Dots per inch of the PNG."""


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """One unit of a linear layer."""

    layer: str
    """Name of the layer."""
    index: int
    """The unit's position in the layer, from 0."""
    weights: Floats
    """float32 (height, width): where the layer reads the pixels, one weight for each; otherwise one for each unit that
    the layer reads, row by row, with NaN for a rest."""
    bias: float
    """The unit's bias."""
    reads: str
    """Name of the layer whose activations are multiplied by the weights."""
    relu: str = ""
    """Name of the relu layer that reads the unit; empty if none does."""
    inputs: Floats | None = None
    """The activations of that layer for an image, in the shape of `weights`; None: there is no image."""

    @property
    def activation(self) -> float | None:
        """weights · inputs + bias, before any activation function; None without an image."""
        if self.inputs is None:
            return None
        return float(np.nansum(self.weights * self.inputs, dtype=np.float64)) + self.bias


def unit_of(parameters: Parameters, index: int, model: Model, prediction: Prediction | None = None) -> Unit:
    """A unit of a layer.

    Raises:
        UsageError: the layer has no such unit.
    """
    if not 0 <= index < len(parameters.bias):
        raise UsageError(f"{parameters.layer} has the units 0 to {len(parameters.bias) - 1}, not {index}")
    layers = {layer.name: layer for layer in model.layers}
    reads = layers[layers[parameters.layer].reads[0]]
    inputs = None if prediction is None else _picture(prediction.activations[reads.name].ravel(), reads, model)
    weights = _picture(parameters.weight[index].ravel(), reads, model)
    relus = (layer.name for layer in model.layers if layer.kind is LayerKind.RELU and parameters.layer in layer.reads)
    return Unit(parameters.layer, index, weights, float(parameters.bias[index]), reads.name, next(relus, ""), inputs)


def _picture(values: Floats, reads: Layer, model: Model) -> Floats:
    """Values of a layer's units as a matrix: as the image, if they are pixels, or as rows of a grid."""
    if reads.kind is LayerKind.INPUT:
        return values.reshape(model.input.shape)
    rows, columns = grid_shape(values.size)
    cells = np.full(rows * columns, np.nan, np.float32)
    cells[: values.size] = values
    return cells.reshape(rows, columns)


def parameters_text(parameters: Parameters) -> str:
    """A layer's parameters in one line."""
    weight = parameters.weight
    return (
        f"{parameters.layer}: weight {' × '.join(map(str, weight.shape))}, {weight.min():.3f} to {weight.max():.3f}; "
        f"bias {len(parameters.bias)}, {parameters.bias.min():.3f} to {parameters.bias.max():.3f}"
    )


def unit_text(unit: Unit, encoding: str = "utf-8") -> str:
    """The unit's weights, drawn, and what it calculates. In ASCII where the encoding has no blocks."""
    drawing = f"{render_signed(unit.weights)}\n▁ to █ above zero, ░ to ▓ below zero, · zero"
    product = "·" if can_show(encoding) else "@"
    count = np.count_nonzero(~np.isnan(unit.weights))
    lines = [
        f"unit {unit.index} of {unit.layer}: {count} weights, {np.nanmin(unit.weights):.3f} to "
        f"{np.nanmax(unit.weights):.3f}, and the bias {unit.bias:.3f}",
        drawing if can_show(encoding) else strips_in_ascii(drawing),
    ]
    if unit.activation is not None:
        then = f", and {unit.relu} makes of it {max(unit.activation, 0):.3f}" if unit.relu else ""
        lines.append(f"weights {product} {unit.reads} + bias = {unit.activation:.3f}{then}")
    return "\n".join(lines)


def plot_unit(unit: Unit, path: str | os.PathLike[str]) -> None:
    """Draws a unit and writes the figure to a file, whose suffix is the format: .png, .pdf or .svg.

    Raises:
        UsageError: matplotlib is missing, or the file can't be written.
    """
    figure = draw_unit(unit)
    try:
        figure.savefig(path, dpi=DPI)
    except (OSError, ValueError) as error:
        raise UsageError(f"can't write the figure to {os.fspath(path)}: {error}") from error


def draw_unit(unit: Unit) -> "Figure":
    """The unit's weights; with an image also its inputs, and weights times inputs, whose sum the unit calculates.

    Raises:
        UsageError: matplotlib is missing.
    """
    check_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    pictures = [(f"weights of {unit.layer}, unit {unit.index}", unit.weights)]
    if unit.inputs is not None:
        total = f"sum + bias = {unit.activation:.2f}"
        pictures += [(unit.reads, unit.inputs), (f"weights × {unit.reads}: {total}", unit.weights * unit.inputs)]
    figure = Figure(figsize=(4 * len(pictures), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, values) in zip(figure.subplots(1, len(pictures), squeeze=False)[0], pictures, strict=True):
        reach = float(np.nanmax(np.abs(values))) or 1.0
        image = axes.imshow(values, cmap=COLOUR_MAP, vmin=-reach, vmax=reach, interpolation="nearest")
        axes.set_title(title, fontsize=10, parse_math=False)
        axes.set(xticks=[], yticks=[])
        figure.colorbar(image, ax=axes, shrink=0.75)
    return figure
