"""Reads crops: images in which the strokes reach the border, as where a digit is cut out by its box.

Such an image has no frame of paper. Which of its two greys is ink is told by its border, most of which is paper, and by
a digit's being whole: in a tight crop it touches all four sides. It knows one digit on flat paper; in uneven light, and
where what touches the border isn't the largest thing, it leaves the image to `photo`.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vitrine.model.preparation.blobs import Blobs
from vitrine.model.preparation.image import Grey
from vitrine.model.preparation.paper import MIN_CONTRAST
from vitrine.model.preparation.photo import COARSE_SIDE, fits_a_square, split

AT_BORDER = 0.02
"""The share of the border that both greys take in a crop."""

FLAT, FLAT_RANGE = 0.4, 24
"""The share of the paper that lies within so many grey levels of its own extreme, where light is even."""

SOLID = 0.25
"""What holds a square of this share of the image's length, and doesn't touch all sides, is a shadow or a table."""

LEAST_CONTRAST = 2 * MIN_CONTRAST
"""Grey levels between paper and most of the ink: less is grain."""

SLENDER = 2.2
"""The aspect of an image from which on it may be a tight crop of a 1, most of whose border is ink."""


class Levels(NamedTuple):
    """Greys of a crop, 0 to 255."""

    paper: int
    ink: int


class Side(NamedTuple):
    """The larger blob of one of a crop's two greys."""

    share: float
    """The share of the border that this grey takes, 0 to 1."""
    touched: int
    """The number of the border's sides that the blob touches."""


def find_levels(grey: Grey) -> Levels | None:
    """The greys of paper and ink in a crop, uint8 (H, W); None where the image isn't one."""
    cell = -(-max(grey.shape) // COARSE_SIDE)
    small = grey[::cell, ::cell]
    middle = split(small.ravel())
    is_dark = small <= middle
    if is_dark.all() or not is_dark.any():
        return None
    dark, light = _side(is_dark), _side(~is_dark)
    if min(dark.share, light.share) < AT_BORDER:
        return None
    ink_is_dark = dark.share <= light.share
    slender = max(grey.shape) >= SLENDER * min(grey.shape)
    if slender and 4 in (dark.touched, light.touched) and dark.touched != light.touched:
        ink_is_dark = dark.touched == 4
    written, mask = (dark, is_dark) if ink_is_dark else (light, ~is_dark)
    if written.touched == 0 or (written.touched < 4 and fits_a_square(mask, max(int(SOLID * max(mask.shape)), 3))):
        return None
    paper = small[~mask]
    extreme = float(np.percentile(paper, 95 if ink_is_dark else 5))
    flat = paper[np.abs(paper - extreme) < FLAT_RANGE]
    level = int(np.median(flat))
    if len(flat) < FLAT * len(paper) or abs(float(np.median(small[mask])) - level) < LEAST_CONTRAST:
        return None
    return Levels(level, int(grey.min() if ink_is_dark else grey.max()))


def _side(mask: npt.NDArray[np.bool_]) -> Side:
    border = np.concatenate((mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    blobs = Blobs.of(mask.astype(np.uint8), 0)
    largest = int(blobs.area.argmax())
    height, width = mask.shape
    touched = (blobs.top == 0, blobs.bottom == height, blobs.left == 0, blobs.right == width)
    return Side(float(border.mean()), sum(int(side[largest]) for side in touched))
