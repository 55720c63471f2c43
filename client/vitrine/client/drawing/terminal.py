"""Draws a prediction in the terminal: the pixels, and a strip of blocks for the activations of each layer.

It knows Unicode blocks and ANSI colours, and nothing about servers or the terminal itself.
"""

import math

import numpy as np
import numpy.typing as npt

from vitrine.client.errors import UsageError
from vitrine.client.types import Floats, Prediction
from vitrine.model import Layer, LayerKind
from vitrine.model.graph import KINDS

BARS = " ▁▂▃▄▅▆▇█"
"""Nine heights; the first one is for zero alone."""

SHADES = "·░▒▓"
"""Values below zero, by their distance from it; the first one is zero in a layer that may have such values."""

STRIP_WIDTH = 48
"""Characters of a strip."""

LEAST_WIDTH = 8
"""Characters of a strip in a narrow terminal: with fewer, there would be nothing to see."""

CELLS = " ░▒▓█▀▄"
"""The characters for two pixels, one above the other, without colours."""

ASCII_CELLS = str.maketrans(CELLS, " .:*@'_")
ASCII_STRIPS = str.maketrans(BARS + SHADES + "│", " .:-=+*#@" + "'~nN" + "|")
"""The same characters for terminals that have no blocks."""

CELL_SHADES = np.array([[0, 0], [0.25, 0.25], [0.5, 0.5], [0.75, 0.75], [1, 1], [1, 0], [0, 1]])
"""The ink of the upper and the lower pixel that each of `CELLS` shows, 0 to 1."""

GREY_LEVELS = (255, 232)
"""White and black among the 24 greys of the terminal's 256 colours."""

POSITIVE, NEGATIVE, NEUTRAL = 167, 68, 245
"""Red, blue and grey of the 256 colours, as in the figure that `plot` draws."""

RESET = "\x1b[0m"


def render_pixels(pixels: Floats, *, colour: bool = False) -> str:
    """Draws an image's pixels with half blocks: a character is two pixels, one above the other.

    Args:
        pixels: `Prediction.pixels`, float32 (height, width), 0 = white (paper) to 1 = black (ink). A flat array of a
            square picture is taken too: float32 (324,) is 18 × 18.
        colour: True for the terminal's greys, black on white; otherwise the terminal's own colour is the ink.

    Raises:
        UsageError: a flat array isn't of a square picture.
    """
    picture = _as_picture(np.asarray(pixels, np.float32))
    if len(picture) % 2:  # the last line has no lower pixels
        picture = np.vstack([picture, np.full_like(picture[:1], np.nan)])
    pairs = np.stack((picture[0::2], picture[1::2]), axis=-1)  # (lines, width, 2): upper and lower pixel
    draw = _coloured_cells if colour else _plain_cells
    return "\n".join(draw(row) for row in pairs)


def _as_picture(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    side = math.isqrt(pixels.size)
    if pixels.ndim == 1 and side * side == pixels.size:
        return pixels.reshape(side, side)
    if pixels.ndim != 2:
        raise UsageError(f"pixels are an array (height, width), not {pixels.shape}: pass prediction.pixels")
    return pixels


def _plain_cells(pairs: npt.NDArray[np.float32]) -> str:
    distance = ((np.nan_to_num(pairs)[:, None, :] - CELL_SHADES) ** 2).sum(axis=-1)  # (width, cells)
    return "".join(CELLS[best] for best in distance.argmin(axis=1))


def _coloured_cells(pairs: npt.NDArray[np.float32]) -> str:
    return "".join(_coloured_cell(upper, lower) for upper, lower in pairs) + RESET


def _coloured_cell(upper: float, lower: float) -> str:
    background = "49" if np.isnan(lower) else f"48;5;{_grey(lower)}"  # 49: the terminal's own background
    return f"\x1b[38;5;{_grey(upper)};{background}m▀"


def _grey(ink: float) -> int:
    white, black = GREY_LEVELS
    return round(white + min(max(float(ink), 0.0), 1.0) * (black - white))


def can_show(encoding: str) -> bool:
    """Tells whether an encoding has all blocks: Windows' code pages haven't."""
    try:
        (BARS + SHADES + CELLS).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def pixels_in_ascii(drawing: str) -> str:
    """The drawing of `render_pixels`, without colours, in ASCII."""
    return drawing.translate(ASCII_CELLS)


def strips_in_ascii(drawing: str) -> str:
    """The drawing of `render_strips`, or its legend, in ASCII."""
    return drawing.translate(ASCII_STRIPS)


def render_signed(values: Floats) -> str:
    """Draws a matrix of any numbers, float32 (rows, columns): two characters for each, as in a strip; NaN is blank."""
    reach = float(np.nanmax(np.abs(values)))
    return "\n".join(
        "".join("  " if np.isnan(value) else 2 * _character(value, reach, SHADES[0]) for value in row)
        for row in values.tolist()
    )


def render_strips(prediction: Prediction, *, width: int = STRIP_WIDTH, colour: bool = False) -> str:
    """Draws one line for each layer: its name, its width, a strip of its activations, and a remark.

    A character is one unit, or the mean of neighbouring units if a layer has more than `width`: it is empty only if all
    of them are zero. Its height goes from zero to the strip's largest distance from zero. In a layer whose activations
    may be negative, shades stand for those below zero and a dot for zero; with colours, positive ones are red and
    negative ones blue. A layer of a kind that this version doesn't know is drawn like that, in grey. `strips_legend`
    explains this below the strips.

    Args:
        prediction: the prediction to draw; layers without activations are left out.
        width: characters of a strip.
        colour: True to use the terminal's colours.

    Returns:
        Lines without a newline after the last; empty without activations.
    """
    longest = max(map(len, prediction.activations), default=0)
    layers = prediction.activations.layers
    return "\n".join(
        f"{name:<{longest}} {values.size:>5} │{_strip(layers.get(name), values.ravel(), width, colour)}│ "
        f"{_remark(layers.get(name), values.ravel(), prediction.classes)}"
        for name, values in prediction.activations.items()
    )


def strip_width(prediction: Prediction, columns: int) -> int:
    """The `width` with which the lines of `render_strips` fit into a terminal's columns, from 8 to 48."""
    longest = max(map(len, render_strips(prediction).splitlines()), default=0)
    return max(LEAST_WIDTH, STRIP_WIDTH - max(0, longest - columns))


def strips_legend(prediction: Prediction, *, width: int = STRIP_WIDTH) -> str:
    """The meaning of a strip's characters, in one line; empty without activations."""
    largest = max((values.size for values in prediction.activations.values()), default=0)
    if not largest:
        return ""
    units = (
        "one unit" if largest <= width else f"one unit, or the mean of up to {math.ceil(largest / width)} neighbours"
    )
    return f"a character is {units}: ▁ to █ above zero, ░ to ▓ below zero, · or blank zero"


def _strip(layer: Layer | None, values: Floats, width: int, colour: bool) -> str:
    bins = bin_means(values, width)
    zero = SHADES[0] if _is_signed(layer) else BARS[0]
    reach = float(np.abs(bins).max())
    characters = [_character(value, reach, zero) for value in bins]
    if colour:
        characters = [
            _tinted(character, _tint(layer, value)) for character, value in zip(characters, bins, strict=True)
        ]
    repeat = max(1, width // len(bins))
    return "".join(character * repeat for character in characters) + " " * (width - repeat * len(bins))


def _is_signed(layer: Layer | None) -> bool:
    """True if activations may be negative; those of an unknown kind may."""
    return layer is None or KINDS[layer.kind].signed


def bin_means(values: Floats, count: int) -> npt.NDArray[np.float64]:
    """The means of `count` runs of neighbours of nearly equal length; the values themselves if there are fewer."""
    edges = np.linspace(0, len(values), min(count, len(values)) + 1).astype(int)
    return np.add.reduceat(values, edges[:-1], dtype=np.float64) / np.diff(edges)


def _character(value: float, reach: float, zero: str) -> str:
    """The character of a value from -reach to reach; `zero` is for exact zeros alone: a weak activation isn't none."""
    if value == 0:
        return zero
    steps = BARS if value > 0 else SHADES
    return steps[1 + round(abs(value) / reach * (len(steps) - 2))]


def _tint(layer: Layer | None, value: float) -> int:
    if layer is None or layer.kind is LayerKind.INPUT:
        return NEUTRAL
    return NEGATIVE if value < 0 else POSITIVE


def _tinted(character: str, tint: int) -> str:
    return f"\x1b[38;5;{tint}m{character}{RESET}"


def _remark(layer: Layer | None, values: Floats, classes: tuple[str, ...]) -> str:
    match layer and layer.kind:
        case LayerKind.INPUT:
            return f"{np.mean(values):.0%} ink"
        case LayerKind.RELU:
            return f"{np.mean(values == 0):.0%} of the units zero, up to {values.max():.2f}"
        case LayerKind.SOFTMAX | LayerKind.SIGMOID if len(values) == len(classes):
            return f"{classes[int(values.argmax())]} at {values.max():.1%}"
        case _:
            return f"{values.min():.2f} to {values.max():.2f}"
