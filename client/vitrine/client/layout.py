"""Where each layer lies in the figure of a prediction, in inches from its lower left corner.

It knows sizes and the order of the layers; how anything is drawn, `plot` knows.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from vitrine.client.types import Activations, Prediction, kind_of
from vitrine.model import LayerKind

LARGEST_SIDE = 2.2
"""The side of a square with the area of the widest hidden layer."""

CROWD, CROWDED_SIDE = 3, 1.6
"""From more hidden layers than this, the same side: so that a deep model's figure still fits a screen."""

SMALLEST_SIDE = 0.7
"""The side of a square with the least area that a layer takes: 8 units beside 4096 would be a dot."""

COLUMN_WIDTH = 1.5
"""The least width of a column: its titles'."""

LEAST_ROW = 1.7
"""The least height of a row: the bar charts'."""

PIXELS_SIDE = 2.7
"""The side of the pixels."""

OUTPUT_WIDTH = 2.9
"""The width of the bar charts."""

MARGIN = 0.4
"""Around everything."""

GAP = 0.45
"""Between columns."""

AXIS = 0.3
"""At the left of the bar charts, for their axes' numbers."""

HEADER = 0.65
"""Above, for the figure's title."""

TITLE = 0.5
"""Above each panel, for its own title."""

BETWEEN = 0.35
"""Between the two rows."""

SCALE = 0.5
"""Below, for the colour scales and the classes' labels."""

BAR_HEIGHT = 0.1
"""The height of a colour scale."""

SQUAREST = 2
"""How much longer than wide a grid may be, so that its units fill it without a rest."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle."""

    left: float
    """Its left edge."""
    bottom: float
    """Its lower edge."""
    width: float
    """Its width."""
    height: float
    """Its height."""

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.left + self.width

    @property
    def top(self) -> float:
        """Its upper edge."""
        return self.bottom + self.height


@dataclass(frozen=True, slots=True)
class Column:
    """A hidden layer: what the matrix multiply gives above, what the ReLU keeps of it below."""

    panels: dict[str, Box]
    """The place of each layer's grid, by name."""
    scale: Box
    """The place of the colour scale."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of everything in a figure."""

    width: float
    """The figure's width."""
    height: float
    """The figure's height."""
    pixels: Box | None
    """The place of the pixels; None when the prediction lacks them."""
    columns: tuple[Column, ...]
    """The hidden layers, from the left."""
    scores: tuple[str, Box] | None
    """The last linear layer and its place; None when the prediction lacks it."""
    output: str
    """The output layer's name; `output` when the prediction lacks its activations."""
    probabilities: Box
    """The place of the output layer."""


def grid_shape(width: int) -> tuple[int, int]:
    """Rows and columns for a layer's units: a full rectangle if one is nearly square, else a square with a rest."""
    for rows in range(math.isqrt(width), 0, -1):
        if width % rows == 0 and width // rows <= SQUAREST * rows:
            return rows, width // rows
    columns = math.ceil(math.sqrt(width))
    return math.ceil(width / columns), columns


def arrange(prediction: Prediction) -> Layout:
    """Finds the place of everything that a prediction has: at the left the pixels, at the right the output."""
    scores, groups = _hidden_groups(prediction)
    sizes = _grid_sizes({name: len(prediction.activations[name]) for group in groups for name in group})
    rows = _rows(prediction.activations, sizes)
    left, pixels = MARGIN, None
    if "input" in prediction.activations:
        pixels = Box(left, rows.middle - PIXELS_SIDE / 2, PIXELS_SIDE, PIXELS_SIDE)
        left = pixels.right + GAP
    columns = []
    for group in groups:
        column = _column({name: sizes[name] for name in group}, left, rows)
        columns.append(column)
        left = column.scale.right + GAP
    left += AXIS
    probabilities = Box(left, rows.lower, OUTPUT_WIDTH, rows.height)
    return Layout(
        width=probabilities.right + MARGIN,
        height=rows.top + TITLE + HEADER + MARGIN,
        pixels=pixels,
        columns=tuple(columns),
        scores=(scores, Box(left, rows.upper, OUTPUT_WIDTH, rows.height)) if scores else None,
        output=_output_name(prediction.activations),
        probabilities=probabilities,
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    """The two rows of panels: linear layers above, ReLUs below; a single one without linear layers."""

    height: float
    single: bool

    @property
    def lower(self) -> float:
        return MARGIN + SCALE

    @property
    def upper(self) -> float:
        return self.lower if self.single else self.lower + self.height + TITLE + BETWEEN

    @property
    def top(self) -> float:
        return self.upper + self.height

    @property
    def middle(self) -> float:
        return (self.lower + self.top) / 2

    def bottom_of(self, name: str) -> float:
        return self.upper if kind_of(name) is LayerKind.LINEAR else self.lower


def _rows(activations: Activations, sizes: Mapping[str, tuple[float, float]]) -> _Rows:
    single = not any(kind_of(name) is LayerKind.LINEAR for name in activations)
    least = PIXELS_SIDE if single and "input" in activations else LEAST_ROW
    return _Rows(max([least, *(height for _, height in sizes.values())]), single)


def _column(sizes: Mapping[str, tuple[float, float]], left: float, rows: _Rows) -> Column:
    width = max([COLUMN_WIDTH, *(width for width, _ in sizes.values())])
    panels = {
        name: Box(left + (width - w) / 2, rows.bottom_of(name) + (rows.height - h) / 2, w, h)
        for name, (w, h) in sizes.items()
    }
    return Column(panels, Box(left, MARGIN + SCALE / 2 - BAR_HEIGHT / 2, width, BAR_HEIGHT))


def _hidden_groups(prediction: Prediction) -> tuple[str | None, list[list[str]]]:
    """The last linear layer's name, if it is there, and the names of each hidden layer's linear and ReLU part."""
    by_number: dict[str, list[str]] = {}
    for name in prediction.activations:
        if kind_of(name) in (LayerKind.LINEAR, LayerKind.RELU):
            by_number.setdefault(name.partition("_")[2], []).append(name)
    groups = list(by_number.values())
    if groups and _feeds_output(groups[-1], prediction):
        return groups[-1][0], groups[:-1]
    return None, groups


def _feeds_output(group: list[str], prediction: Prediction) -> bool:
    """Whether it is the last linear layer; of some layers' activations alone, one can't tell more surely."""
    is_linear = [kind_of(name) for name in group] == [LayerKind.LINEAR]
    return is_linear and len(prediction.activations[group[0]]) == len(prediction.probabilities)


def _output_name(activations: Activations) -> str:
    outputs = [name for name in activations if kind_of(name) in (LayerKind.SOFTMAX, LayerKind.SIGMOID)]
    return outputs[0] if outputs else "output"


def _grid_sizes(widths: Mapping[str, int]) -> dict[str, tuple[float, float]]:
    """Each grid's width and height: units of one size, so that areas compare, but none below `SMALLEST_SIDE`."""
    side = LARGEST_SIDE if len(widths) <= 2 * CROWD else CROWDED_SIDE
    unit = side / math.sqrt(max(widths.values(), default=1))
    return {
        name: _grid_size(grid_shape(width), max(unit, SMALLEST_SIDE / math.sqrt(width)))
        for name, width in widths.items()
    }


def _grid_size(shape: tuple[int, int], unit: float) -> tuple[float, float]:
    rows, columns = shape
    return columns * unit, rows * unit
