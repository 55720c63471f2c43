"""Draws a prediction in the terminal: the pixels, and one strip of blocks for each layer's activations.

It knows Unicode blocks and ANSI colours; where the prediction came from, and whether anyone is looking, it doesn't.
"""

import numpy as np
import numpy.typing as npt

from vitrine.client.types import Floats, Prediction, kind_of
from vitrine.model import PIXELS_SHAPE, LayerKind

BARS = " ▁▂▃▄▅▆▇█"
"""Nine heights; the first is kept for zero."""

STRIP_WIDTH = 48
"""How many characters a strip takes."""

CELLS = " ░▒▓█▀▄"
"""What two pixels, one above the other, can look like without colours."""

CELL_SHADES = np.array([[0, 0], [0.25, 0.25], [0.5, 0.5], [0.75, 0.75], [1, 1], [1, 0], [0, 1]])
"""How much ink the upper and the lower pixel of each of `CELLS` shows."""

GREY_LEVELS = (255, 232)
"""White and black among the 24 greys of the terminal's 256 colours."""

POSITIVE, NEGATIVE, NEUTRAL = 167, 68, 245
"""Red, blue and grey of the 256 colours, as in the figure that `plot` draws."""

SIGNED = (LayerKind.LINEAR, None)
"""The kinds whose activations may be negative; of a kind that isn't known, one can't tell."""

RESET = "\x1b[0m"


def render_pixels(pixels: Floats, *, colour: bool = False) -> str:
    """Draws an image's pixels with half blocks: 9 lines of 18 characters.

    Args:
        pixels: float32 (324,) or (18, 18), 0 = white (paper) to 1 = black (ink): the activations of `input`.
        colour: whether to draw in the terminal's greys, black on white; else the terminal's own colour is the ink.
    """
    square = np.asarray(pixels).reshape(PIXELS_SHAPE)
    pairs = np.stack((square[0::2], square[1::2]), axis=-1)  # (9, 18, 2): the upper and the lower pixel of a character
    draw = _coloured_cells if colour else _plain_cells
    return "\n".join(draw(row) for row in pairs)


def _plain_cells(pairs: npt.NDArray[np.float32]) -> str:
    distance = ((pairs[:, None, :] - CELL_SHADES) ** 2).sum(axis=-1)  # (18, cells)
    return "".join(CELLS[best] for best in distance.argmin(axis=1))


def _coloured_cells(pairs: npt.NDArray[np.float32]) -> str:
    white, black = GREY_LEVELS
    greys = np.rint(white + pairs.clip(0, 1) * (black - white)).astype(int)
    return "".join(f"\x1b[38;5;{upper};48;5;{lower}m▀" for upper, lower in greys) + RESET


def render_strips(prediction: Prediction, *, width: int = STRIP_WIDTH, colour: bool = False) -> str:
    """Draws one line for each layer: its name, its width, a strip of its activations, and what stands out.

    A character is one unit, or the mean of neighbouring units where a layer has more than `width`. Its height goes from
    zero to the strip's largest value; in a linear layer, whose activations have signs, from the smallest to the
    largest, and with colours positive ones are red and negative ones blue. A layer of a kind that only a newer Vitrine
    knows is drawn like a linear one, in grey.

    Args:
        prediction: what to draw; layers whose activations it lacks are left out.
        width: how many characters a strip takes.
        colour: whether to use the terminal's colours.

    Returns:
        Lines without a line's end after the last; empty without activations.
    """
    longest = max(map(len, prediction.activations), default=0)
    return "\n".join(
        f"{name:<{longest}} {len(values):>5} │{_strip(kind_of(name), values, width, colour)}│ "
        f"{_remark(kind_of(name), values)}"
        for name, values in prediction.activations.items()
    )


def _strip(kind: LayerKind | None, values: Floats, width: int, colour: bool) -> str:
    bins = bin_means(values, width)
    characters = [BARS[level] for level in _levels(bins, signed=kind in SIGNED)]
    if colour:
        characters = [_tinted(character, _tint(kind, value)) for character, value in zip(characters, bins, strict=True)]
    repeat = max(1, width // len(bins))
    return "".join(character * repeat for character in characters) + " " * (width - repeat * len(bins))


def bin_means(values: Floats, count: int) -> npt.NDArray[np.float64]:
    """The means of `count` runs of neighbours, of nearly equal length; the values themselves if they are fewer."""
    edges = np.linspace(0, len(values), min(count, len(values)) + 1).astype(int)
    return np.add.reduceat(values, edges[:-1], dtype=np.float64) / np.diff(edges)


def _levels(bins: npt.NDArray[np.float64], *, signed: bool) -> list[int]:
    """Heights 0 to 8; 0 is only for what is exactly zero, so that a weak activation is told from none."""
    lowest = bins.min() if signed else 0.0
    span = bins.max() - lowest
    if span <= 0:
        return [0] * len(bins)
    levels = 1 + np.rint((bins - lowest) / span * (len(BARS) - 2)).astype(int)
    return [0 if value == 0 and not signed else int(level) for value, level in zip(bins, levels, strict=True)]


def _tint(kind: LayerKind | None, value: float) -> int:
    if kind in (LayerKind.INPUT, None):
        return NEUTRAL
    return NEGATIVE if value < 0 else POSITIVE


def _tinted(character: str, tint: int) -> str:
    return f"\x1b[38;5;{tint}m{character}{RESET}"


def _remark(kind: LayerKind | None, values: Floats) -> str:
    match kind:
        case LayerKind.INPUT:
            return f"{np.mean(values):.0%} ink"
        case LayerKind.LINEAR | None:
            return f"{values.min():.2f} to {values.max():.2f}"
        case LayerKind.RELU:
            return f"{np.mean(values == 0):.0%} zero, up to {values.max():.2f}"
        case _:
            return f"{int(values.argmax())} at {values.max():.1%}"
