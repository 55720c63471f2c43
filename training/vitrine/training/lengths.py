"""The unit of lengths that were chosen on 18 × 18 pixels and hold, in proportion, for other sizes.

It knows shapes only. At 18 × 18 the unit is 1 pixel exactly, so that digits are trained as they always were.
"""

from vitrine.model import PIXELS_SHAPE, Shape


def pixel_unit(shape: Shape) -> float:
    """One pixel's length at 18 × 18, in pixels of a model with this height and width; by the shorter side."""
    return min(shape) / min(PIXELS_SHAPE)


def longer_side(shape: Shape) -> float:
    """The longer side as a multiple of that of 18 × 18 pixels: how much finer an image must be kept."""
    return max(shape) / max(PIXELS_SHAPE)
