"""Places a mark on a page as in a user's image: dark ink on light paper, at a random size and position."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from PIL import Image

GreyImage: TypeAlias = npt.NDArray[np.uint8]
"""A grey image, uint8 (H, W), 0 = black and 255 = white."""

MIN_LENGTH, MAX_LENGTH = 18, 96
"""Range of the longer side of a mark's ink, in pixels."""

PAPER_LEVELS = (225, 255)
"""Range of the paper's grey level."""

INK_LEVELS = (0, 110)
"""Range of the ink's grey level."""

BOX_CELLS = 4
"""Grid cells along each side of a mark's box. A cell full of ink indicates a solid area, wider than a stroke."""

STROKE_MARGINS, SOLID_MARGINS = (0.08, 0.5), (1.3, 1.8)
"""Ranges of the margins around strokes and around solid areas, as shares of the ink's length."""

MAX_GRAIN_STD = 2.5
"""Largest standard deviation of the paper's grain, in grey levels."""


def place_on_page(mark: Image.Image, random: Generator) -> GreyImage:
    """Draws a mark, a grey image of the ink's coverage, at a random size on a random page."""
    ink = _resized(mark, random)  # (h, w)
    margins = np.rint(max(ink.shape) * random.uniform(*_margin_range(mark), 4)).astype(int)  # top, bottom, left, right
    coverage = np.pad(ink, (margins[:2], margins[2:]))  # (H, W)
    paper, dark = random.uniform(*PAPER_LEVELS), random.uniform(*INK_LEVELS)
    return to_grey(paper + coverage * (dark - paper) + grain(coverage.shape, random))


def _resized(mark: Image.Image, random: Generator) -> npt.NDArray[np.float32]:
    """Ink of the mark within its box, float32 (h, w), 0 to 1. The logarithm of its length is uniform."""
    box = mark.getbbox() or (0, 0, *mark.size)
    length = MIN_LENGTH * (MAX_LENGTH / MIN_LENGTH) ** float(random.random())
    scale = length / max(box[2] - box[0], box[3] - box[1])
    size = (max(round((box[2] - box[0]) * scale), 1), max(round((box[3] - box[1]) * scale), 1))
    return np.asarray(mark.resize(size, Image.Resampling.BILINEAR, box), np.float32) / np.float32(255)


def _margin_range(mark: Image.Image) -> tuple[float, float]:
    """Smallest and largest margin, as shares of the ink's length.

    Solid areas get wide margins. On a page filled by one, preparation would treat it as a shadow and keep only its rim.
    The rim of a disc looks like a digit.
    """
    cells = mark.resize((BOX_CELLS, BOX_CELLS), Image.Resampling.BOX, mark.getbbox())
    return SOLID_MARGINS if np.asarray(cells).max() == 255 else STROKE_MARGINS


def grain(shape: tuple[int, ...], random: Generator) -> npt.NDArray[np.float32]:
    """Gaussian paper grain with a standard deviation of 0 to `MAX_GRAIN_STD` grey levels: float32 of `shape`."""
    deviation = np.float32(random.uniform(0, MAX_GRAIN_STD))
    return deviation * random.standard_normal(shape, np.float32)


def to_grey(values: npt.NDArray[np.floating[Any]]) -> GreyImage:
    """Rounds to grey levels, clipped to black and white."""
    grey: GreyImage = np.rint(values.clip(0, 255)).astype(np.uint8)
    return grey
