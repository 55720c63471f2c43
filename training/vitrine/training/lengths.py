"""Sizes of pixels that can be trained on, and the unit of lengths that were chosen on 18 × 18 pixels.

It knows shapes only. For other sizes these lengths hold in proportion. At 18 × 18 the unit is 1 pixel exactly, so that
digits are trained as they always were.
"""

from vitrine.model import PIXELS_SHAPE, Shape
from vitrine.model.artifact import MOST_UNEQUAL
from vitrine.training.errors import DataError

SMALLEST_SIDE, LARGEST_SIDE = 4, 128
"""The smallest and largest height and width of pixels. A teacher halves images twice; an MLP reads every pixel."""


def check_size(shape: Shape) -> None:
    """Checks height and width of pixels.

    Raises:
        DataError: they are too small, too large or too unequal to train on.
    """
    height, width = shape
    if not SMALLEST_SIDE <= min(shape) <= max(shape) <= LARGEST_SIDE:
        raise DataError(
            f"pixels of {height}x{width} can't be trained on: height and width are {SMALLEST_SIDE} to {LARGEST_SIDE}"
        )
    if max(shape) > MOST_UNEQUAL * min(shape):
        raise DataError(
            f"pixels of {height}x{width} can't be trained on: one side is at most {MOST_UNEQUAL} times the other"
        )


def pixel_unit(shape: Shape) -> float:
    """One pixel's length at 18 × 18, in pixels of a model with this height and width; by the shorter side."""
    return min(shape) / min(PIXELS_SHAPE)


def longer_side(shape: Shape) -> float:
    """The longer side as a multiple of that of 18 × 18 pixels: how much finer an image must be kept."""
    return max(shape) / max(PIXELS_SHAPE)
