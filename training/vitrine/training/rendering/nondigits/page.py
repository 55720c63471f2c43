"""Puts a mark on a page, as a user would send it: dark ink on light paper, of any size, somewhere on the sheet."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from PIL import Image

GreyImage: TypeAlias = npt.NDArray[np.uint8]
"""A grey image, uint8 (H, W), 0 = black and 255 = white."""

MIN_LENGTH, MAX_LENGTH = 18, 96
"""Between which lengths the longer side of a mark's ink lies, in pixels."""

PAPER_LEVELS = (225, 255)
"""How light paper is."""

INK_LEVELS = (0, 110)
"""How dark ink is."""

BOX_CELLS = 4
"""Into so many cells each side of a mark's box is parted: one that is full of ink is broad, and no stroke."""

STROKE_MARGINS, SOLID_MARGINS = (0.08, 0.5), (1.3, 1.8)
"""How wide margins are around strokes, and around what is broad."""

MAX_GRAIN_STD = 2.5
"""The deviation of the paper's grain at most, in grey levels."""


def place_on_page(mark: Image.Image, random: Generator) -> GreyImage:
    """A mark, which is a grey image of how much of each pixel the ink covers, in a random size on a random page."""
    ink = _resized(mark, random)  # (h, w)
    margins = np.rint(max(ink.shape) * random.uniform(*_margin_range(mark), 4)).astype(int)  # top, bottom, left, right
    coverage = np.pad(ink, (margins[:2], margins[2:]))  # (H, W)
    paper, dark = random.uniform(*PAPER_LEVELS), random.uniform(*INK_LEVELS)
    return to_grey(paper + coverage * (dark - paper) + grain(coverage.shape, random))


def _resized(mark: Image.Image, random: Generator) -> npt.NDArray[np.float32]:
    """The mark's ink in its box, 0 to 1: a length is as likely to double as to halve; float32 (h, w)."""
    box = mark.getbbox() or (0, 0, *mark.size)
    length = MIN_LENGTH * (MAX_LENGTH / MIN_LENGTH) ** float(random.random())
    scale = length / max(box[2] - box[0], box[3] - box[1])
    size = (max(round((box[2] - box[0]) * scale), 1), max(round((box[3] - box[1]) * scale), 1))
    return np.asarray(mark.resize(size, Image.Resampling.BILINEAR, box), np.float32) / np.float32(255)


def _margin_range(mark: Image.Image) -> tuple[float, float]:
    """How wide the margins are, at least and at most, as shares of the ink's length.

    What is broad has much paper around it: where it fills a page, preparation takes it for a shadow and leaves its rim
    alone, and the rim of a disc has a digit's shape, so that nobody could say what it is.
    """
    cells = mark.resize((BOX_CELLS, BOX_CELLS), Image.Resampling.BOX, mark.getbbox())
    return SOLID_MARGINS if np.asarray(cells).max() == 255 else STROKE_MARGINS


def grain(shape: tuple[int, ...], random: Generator) -> npt.NDArray[np.float32]:
    """The paper's grain: Gaussian, from none to `MAX_GRAIN_STD` grey levels; float32 of `shape`."""
    deviation = np.float32(random.uniform(0, MAX_GRAIN_STD))
    return deviation * random.standard_normal(shape, np.float32)


def to_grey(values: npt.NDArray[np.floating[Any]]) -> GreyImage:
    """Rounded, and cut off at black and white."""
    grey: GreyImage = np.rint(values.clip(0, 255)).astype(np.uint8)
    return grey
