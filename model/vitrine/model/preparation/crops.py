"""Reads crops: images in which the strokes reach the border, as where a digit is cut out by its box.

Such an image has no frame of paper. Which of its two greys is ink is told by its border, most of which is paper, and by
a digit's being whole: in a tight crop it touches all four sides. It knows one digit on flat paper; in uneven light, and
where the largest thing doesn't reach the border, it leaves the image to `photo`.
"""

from typing import NamedTuple, TypeVar

import numpy as np

from vitrine.model.preparation.blobs import Blobs
from vitrine.model.preparation.image import Grey
from vitrine.model.preparation.paper import MIN_CONTRAST
from vitrine.model.preparation.photo import COARSE_SIDE, Mask, fits_a_square, split
from vitrine.model.preparation.surroundings import GRAIN, SMALL_SIDE, is_drawn

Values = TypeVar("Values", Grey, Mask)

AT_BORDER = 0.005
"""The share of the border that differs from the paper in a crop."""

IN_PHOTO = (0.02, 0.45)
"""Range of the share of the border that is ink in a photo's crop: uneven light is less or more of it."""

DOUBTFUL = 0.3
"""The share of a photo's border from which on ink may be a shadow or a table, such as along one side."""

WHOLE_SIDE, LEAST_SIDES = 0.85, 3
"""A shadow or a table takes more than this share of a side, or reaches fewer sides with its strongest ink than a
crop's strokes."""

MOST_INK = 0.62
"""The share of a photo that is ink at most: more is a sheet with the digit on it."""

EXACT = 0.8
"""The share of the paper that has exactly its level in what a program drew, of what differs by less than `GRAIN`."""

UNDECIDED = 0.2
"""The share of the border that both greys take where a slender crop's paper may be the smaller one."""

HALF = 0.5
"""The grey that takes at most this share of the border is ink."""

ALL_SIDES = 4
"""The sides of an image."""

FLAT, FLAT_RANGE = 0.4, 24
"""The share of the paper that lies within so many grey levels of its own extreme, where light is even."""

BEYOND = 0.01
"""The share of the paper that may be farther from the ink than its level is: more is a digit in what is lit."""

FULL = 0.6
"""The contrast of most of the ink in a photo, as a share of its strongest: less may be a shadow with the digit in
it."""

NEAR, NEARBY = 0.05, 0.1
"""The distances from the border within which strokes, and the strongest ink of pale ones, reach it, as shares of the
image's length: soft ends are pale."""

HUGE = 0.4
"""What holds a square of this share of the image's length is never ink."""

SOLID = 0.25
"""What holds a square of this share of the image's length in a photo may be a shadow or a table."""

STEEP, EDGES = 0.2, 0.02
"""The share of the contrast that some share of neighbours differ by: light has no such edges."""

EDGES_SIDE = 32
"""Edges are searched for in an image that is at most so long: those of an enlarged digit are wide."""

LEAST_CONTRAST = 2 * MIN_CONTRAST
"""Grey levels between paper and most of the ink: less is grain."""

SLENDER = 2.2
"""The aspect of an image from which on it may be a tight crop of a 1, most of whose border is ink."""


class Levels(NamedTuple):
    """Greys of a crop, 0 to 255."""

    paper: int
    ink: int


def find_levels(grey: Grey) -> Levels | None:
    """The greys of paper and ink in a crop, uint8 (H, W); None where the image isn't one."""
    cell = -(-max(grey.shape) // COARSE_SIDE)
    small = grey[::cell, ::cell]
    middle = split(small.ravel())
    is_dark = small <= middle
    if is_dark.all() or not is_dark.any():
        return None
    share = float(_border(is_dark).mean())
    ink_is_dark = share <= HALF
    if min(share, 1 - share) >= UNDECIDED and max(grey.shape) >= SLENDER * min(grey.shape):
        dark, light = _touched(is_dark, 0), _touched(~is_dark, 0)
        if max(dark, light) == ALL_SIDES and dark != light:
            ink_is_dark = dark == ALL_SIDES
    mask = is_dark if ink_is_dark else ~is_dark
    paper, ink = small[~mask].astype(np.int16), small[mask]
    level, extreme = int(np.median(paper)), int(grey.min() if ink_is_dark else grey.max())
    if (np.abs(_border(small).astype(np.int16) - level) >= MIN_CONTRAST).mean() < AT_BORDER:
        return None
    contrast = abs(float(np.median(ink)) - level)
    beyond = paper - level if ink_is_dark else level - paper
    flat = (np.abs(beyond) < FLAT_RANGE).mean()
    if contrast < LEAST_CONTRAST or flat < FLAT or (beyond > FLAT_RANGE).mean() > BEYOND:
        return None
    if not _has_edges(grey, abs(extreme - level)):
        return None
    length = max(mask.shape)
    if _touched(mask, int(NEAR * length)) == 0 or fits_a_square(mask, max(int(HUGE * length), 1)):
        return None
    exact = np.count_nonzero(paper == level) >= EXACT * np.count_nonzero(np.abs(beyond) < GRAIN)
    if max(grey.shape) > SMALL_SIDE and not (exact or is_drawn(grey)):
        strong = np.abs(small.astype(np.int16) - level) >= FULL * abs(extreme - level)
        if not _is_written(mask, mask & strong):
            return None
    return Levels(level, extreme)


def _is_written(mask: Mask, strong: Mask) -> bool:
    """Tells the strokes of a photo's crop from a shadow or a table at its border, by their strongest ink, too."""
    share, length = float(_border(mask).mean()), max(mask.shape)
    if not IN_PHOTO[0] <= share <= IN_PHOTO[1]:
        return False
    is_pale = np.count_nonzero(strong) < np.count_nonzero(mask) / 2
    if not (share > DOUBTFUL or is_pale or fits_a_square(mask, int(SOLID * length))):
        return True
    if mask.mean() > MOST_INK:
        return False
    widest = max(float(side.mean()) for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    slack = int((NEARBY if is_pale else NEAR) * length)
    return widest <= WHOLE_SIDE and _touched(strong, slack) >= LEAST_SIDES


def _has_edges(grey: Grey, contrast: int) -> bool:
    cell = -(-max(grey.shape) // EDGES_SIDE)
    signed = grey[::cell, ::cell].astype(np.int16)
    steps = np.concatenate([np.abs(np.diff(signed, axis=axis)).ravel() for axis in (0, 1)])
    return bool((steps >= STEEP * contrast).mean() >= EDGES)


def _border(image: Values) -> Values:
    return np.concatenate((image[0], image[-1], image[:, 0], image[:, -1]))


def _touched(mask: Mask, slack: int) -> int:
    """The number of the border's sides that the mask's largest blob touches, or comes as near to as `slack` pixels."""
    blobs = Blobs.of(mask.astype(np.uint8), 0)
    largest = int(blobs.area.argmax())
    height, width = mask.shape
    touched = (
        *(blobs.top <= slack, blobs.bottom >= height - slack),
        *(blobs.left <= slack, blobs.right >= width - slack),
    )
    return sum(int(side[largest]) for side in touched)
