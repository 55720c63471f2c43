"""The place of each panel in the figure of a prediction, in inches from the figure's lower left corner.

It knows sizes and the model's catalogue of layers. `plot` draws.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vitrine.client.types import Activations, Prediction
from vitrine.model import Layer, LayerKind, Shape
from vitrine.model.labels import shorten

MARGIN = 0.4
"""Space around everything."""

HEADER_HEIGHT = 0.65
"""Height of the figure's title."""

TITLE_HEIGHT = 0.5
"""Height of a panel's title."""

FOOTER_HEIGHT = 0.5
"""Least space below the lower row, for colour scales and labels of classes."""

SCALE_HEIGHT = 0.1
"""Height of a colour scale."""

ROW_GAP = 0.35
"""Least space between the rows, for the upper chart's labels."""

COLUMN_GAP = 0.45
"""Space between columns."""

MIN_COLUMN_WIDTH = 1.5
"""Least width of a column, for its titles."""

PIXELS_SIDE, MIN_PIXELS_SIDE = 2.7, 0.3
"""Longer side of the pixels, and the least shorter side."""

CHART_WIDTH, MIN_CHART_HEIGHT = 2.9, 1.7
"""Width of the bar charts, and their least height."""

CHART_AXIS_WIDTH = 0.3
"""Space on the left of the bar charts, for the numbers of their axes."""

GRID_SIDE, MIN_GRID_SIDE = 2.2, 0.7
"""Side of a square with the area of the widest hidden layer, and the least side of such a square."""

MAX_WIDE_GRIDS, NARROW_GRID_SIDE = 6, 1.6
"""With more grids than this, the widest hidden layer has this side: the figure of a deep model must fit a screen."""

MAX_GRID_ASPECT = 2
"""Largest ratio of a grid's sides if its units are to fill it without a rest."""

MAX_MAP_ASPECT = 4
"""Largest ratio of the sides of activations that are drawn as maps; longer ones are drawn as units in a grid."""

MAX_TICKS = 24
"""With more classes than this, only the predicted one has a label."""

MAX_LABEL_LENGTH = 12
"""Characters of a label on an axis; longer ones are cut in the middle, because labels often begin alike."""

CHARACTER_WIDTH = 0.08
"""Width of a character on an axis."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle."""

    left: float
    """Left edge."""
    bottom: float
    """Lower edge."""
    width: float
    """Width."""
    height: float
    """Height."""

    @property
    def right(self) -> float:
        """Right edge."""
        return self.left + self.width

    @property
    def top(self) -> float:
        """Upper edge."""
        return self.bottom + self.height


@dataclass(frozen=True, slots=True)
class Column:
    """A hidden layer: the linear layer above, its activation function below."""

    panels: dict[str, Box]
    """The place of each layer's grid, by name."""
    scale: Box
    """The place of the colour scale."""


@dataclass(frozen=True, slots=True)
class Ticks:
    """The labels on the classes' axis."""

    positions: tuple[int, ...]
    """The classes that have a label, by position."""
    labels: tuple[str, ...]
    """Their labels, cut to a length that fits."""
    rotated: bool
    """True if the labels stand upright, because they don't fit side by side."""

    @property
    def depth(self) -> float:
        """Space that upright labels take below the axis."""
        return (max(map(len, self.labels)) + 1) * CHARACTER_WIDTH if self.rotated else 0.0


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of everything in a figure."""

    width: float
    """Width of the figure."""
    height: float
    """Height of the figure."""
    pixels: Box | None
    """The place of the pixels; None: the prediction has none."""
    columns: tuple[Column, ...]
    """The hidden layers, from the left."""
    scores: tuple[str, Box] | None
    """The last linear layer and its place; None: the prediction has no activations of it."""
    output: str
    """Name of the output layer; `output` if the prediction has no activations of it."""
    probabilities: Box
    """The place of the output layer."""
    ticks: Ticks
    """The labels below both charts."""


def arrange(prediction: Prediction) -> Layout:
    """Finds a place for everything in a prediction: the pixels at the left, the output at the right."""
    structure = find_structure(prediction)
    ticks = choose_ticks(prediction.classes, prediction.index)
    sizes = _grid_sizes(prediction.activations, structure)
    rows = _choose_rows(prediction, structure, sizes, ticks.depth)
    left, pixels = MARGIN, None
    if prediction.has_pixels:
        width, height = _pixels_size(prediction.input.shape)
        column_width = max(width, MIN_COLUMN_WIDTH)
        pixels = Box(left + (column_width - width) / 2, rows.middle - height / 2, width, height)
        left += column_width + COLUMN_GAP
    columns = []
    for names in structure.columns:
        columns.append(_column({name: sizes[name] for name in names}, structure.upper, left, rows))
        left = columns[-1].scale.right + COLUMN_GAP
    left += CHART_AXIS_WIDTH
    probabilities = Box(left, rows.lower, CHART_WIDTH, rows.height)
    return Layout(
        width=probabilities.right + MARGIN,
        height=rows.top + TITLE_HEIGHT + HEADER_HEIGHT + MARGIN,
        pixels=pixels,
        columns=tuple(columns),
        scores=(structure.scores, Box(left, rows.upper, CHART_WIDTH, rows.height)) if structure.scores else None,
        output=structure.output,
        probabilities=probabilities,
        ticks=ticks,
    )


@dataclass(frozen=True, slots=True)
class Structure:
    """The part of each layer in the figure, as the model's catalogue has it."""

    columns: tuple[tuple[str, ...], ...]
    """Names of the hidden layers, those of one column together."""
    upper: frozenset[str]
    """Names of the layers in the upper row."""
    scores: str | None
    """Name of the layer that the output layer reads; None: without activations."""
    output: str
    """Name of the output layer; `output`: without activations."""


def find_structure(prediction: Prediction) -> Structure:
    """The part of each layer that has activations; layers of an unknown kind have none.

    A linear layer begins a column. A layer without parameters stands below the linear layer that it reads.
    """
    activations, layers = prediction.activations, prediction.activations.layers
    output = list(layers.values())[-1] if layers else None
    scores = _scores_layer(output, layers, len(prediction.classes))
    charts = {layer.name for layer in (output, scores) if layer is not None}
    columns: dict[str, list[str]] = {}
    upper = set()
    for name in activations:
        layer = layers.get(name)
        if layer is None or name in charts or layer.kind is LayerKind.INPUT:
            continue
        if layer.kind is LayerKind.LINEAR:
            upper.add(name)
            columns.setdefault(name, []).append(name)
            continue
        first = layer.reads[0] if layer.reads else name
        is_linear = first in layers and layers[first].kind is LayerKind.LINEAR and first not in charts
        is_taken = any(below not in upper for below in columns.get(first, ()))
        columns.setdefault(first if is_linear and not is_taken else name, []).append(name)
    return Structure(
        columns=tuple(map(tuple, columns.values())),
        upper=frozenset(upper),
        scores=scores.name if scores and scores.name in activations else None,
        output=output.name if output and output.name in activations else "output",
    )


def _scores_layer(output: Layer | None, layers: Mapping[str, Layer], classes: int) -> Layer | None:
    """The linear layer whose activations, one for each class, the output layer reads."""
    read = layers.get(output.reads[0]) if output and output.reads else None
    return read if read and read.kind is LayerKind.LINEAR and read.shape == (classes,) else None


def choose_ticks(classes: Sequence[str], predicted: int) -> Ticks:
    """Labels for the classes' axis: of all classes, or, with very many, of the predicted one."""
    positions = tuple(range(len(classes))) if len(classes) <= MAX_TICKS else (predicted,)
    labels = tuple(shorten(classes[position], MAX_LABEL_LENGTH) for position in positions)
    longest = max(map(len, labels)) + 1  # a space between two
    return Ticks(positions, labels, rotated=longest * CHARACTER_WIDTH * len(labels) > CHART_WIDTH)


def grid_shape(width: int) -> tuple[int, int]:
    """Rows and columns for a layer's units: a full rectangle if one is nearly square, or a square with a rest."""
    for rows in range(math.isqrt(width), 0, -1):
        if width % rows == 0 and width // rows <= MAX_GRID_ASPECT * rows:
            return rows, width // rows
    columns = math.ceil(math.sqrt(width))
    return math.ceil(width / columns), columns


def panel_shape(shape: Shape) -> tuple[int, int]:
    """Rows and columns of cells for a layer's activations: a map, maps of channels side by side, or units in a grid."""
    return _map_shape(shape) if has_maps(shape) else grid_shape(math.prod(shape))


def has_maps(shape: Shape) -> bool:
    """True if activations are drawn as maps: (height, width) or (channels, height, width), and not too long."""
    if len(shape) not in (2, 3):
        return False
    rows, columns = _map_shape(shape)
    return max(rows, columns) <= MAX_MAP_ASPECT * min(rows, columns)


def _map_shape(shape: Shape) -> tuple[int, int]:
    *channels, height, width = shape
    rows, columns = grid_shape(math.prod(channels))
    return rows * height, columns * width


@dataclass(frozen=True, slots=True)
class _Rows:
    """The two rows of panels: linear layers above, the others below; a single row without linear layers."""

    height: float
    single: bool
    label_depth: float

    @property
    def lower(self) -> float:
        return MARGIN + max(FOOTER_HEIGHT, self.label_depth)

    @property
    def upper(self) -> float:
        gap = TITLE_HEIGHT + max(ROW_GAP, self.label_depth)
        return self.lower if self.single else self.lower + self.height + gap

    @property
    def top(self) -> float:
        return self.upper + self.height

    @property
    def middle(self) -> float:
        return (self.lower + self.top) / 2


def _choose_rows(
    prediction: Prediction, structure: Structure, sizes: Mapping[str, tuple[float, float]], label_depth: float
) -> _Rows:
    single = not structure.upper and structure.scores is None
    least = MIN_CHART_HEIGHT
    if single and prediction.has_pixels:
        least = max(least, _pixels_size(prediction.input.shape)[1])
    return _Rows(max([least, *(height for _, height in sizes.values())]), single, label_depth)


def _pixels_size(shape: Shape) -> tuple[float, float]:
    """Width and height of the pixels' panel; pixels are squares unless the picture is very long."""
    height, width = shape
    cell = PIXELS_SIDE / max(height, width)
    return max(width * cell, MIN_PIXELS_SIDE), max(height * cell, MIN_PIXELS_SIDE)


def _column(sizes: Mapping[str, tuple[float, float]], upper: frozenset[str], left: float, rows: _Rows) -> Column:
    width = max([MIN_COLUMN_WIDTH, *(width for width, _ in sizes.values())])
    panels = {}
    for name, (w, h) in sizes.items():
        bottom = rows.upper if name in upper else rows.lower
        panels[name] = Box(left + (width - w) / 2, bottom + (rows.height - h) / 2, w, h)
    return Column(panels, Box(left, rows.lower - (FOOTER_HEIGHT + SCALE_HEIGHT) / 2, width, SCALE_HEIGHT))


def _grid_sizes(activations: Activations, structure: Structure) -> dict[str, tuple[float, float]]:
    """Width and height of each grid: units of one size, so that areas compare, but no grid below `MIN_GRID_SIDE`."""
    shapes = {name: activations.layers[name].shape for names in structure.columns for name in names}
    widths = {name: math.prod(shape) for name, shape in shapes.items()}
    side = GRID_SIDE if len(widths) <= MAX_WIDE_GRIDS else NARROW_GRID_SIDE
    unit = side / math.sqrt(max(widths.values(), default=1))
    sizes = {}
    for name, width in widths.items():
        rows, columns = panel_shape(shapes[name])
        cell = max(unit, MIN_GRID_SIDE / math.sqrt(width))
        sizes[name] = (columns * cell, rows * cell)
    return sizes
