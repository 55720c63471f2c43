"""Makes strokes about as wide as those that a model is trained on, from any pen.

A line of one pixel in a large drawing would fade to nothing on a model's few pixels, and a thick marker would close its
loops. Widths in between stay as they are: they are handwriting. It knows ink, and no image or paper.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from vitrine.model.preparation.photo import highest

Ink: TypeAlias = npt.NDArray[np.uint8]
"""Ink: uint8 (H, W), 0 = paper, 255 = ink."""

THINNEST, THICKEST = 1 / 10, 1 / 5
"""Widths between which strokes stay, as shares of the box's longer side: nine tenths of MNIST's lie there."""

PEN_SIDE = 64
"""Strokes are widened and narrowed on a box about so long."""


def even_strokes(box: Ink) -> Ink:
    """The ink with strokes of a usual width: uint8 (h, w) to uint8 (h', w'), the smallest box of it or larger."""
    length = max(box.shape)
    width = stroke_width(box) / length
    if width == 0 or THINNEST <= width <= THICKEST:
        return box
    cell = -(-length // PEN_SIDE)
    small = highest(box, cell) if width < THINNEST else np.asarray(Image.fromarray(box).reduce(cell))
    wanted = min(max(width, THINNEST), THICKEST)
    return _widen(small, round((wanted * max(small.shape) - stroke_width(small)) / 2))


def stroke_width(ink: Ink) -> float:
    """The mean width of the strokes, in pixels: a long stroke has half its width in area for each pixel of its edges.

    Edges are measured by the sum of all steps between neighbours, which on average over all directions is 4 / π of an
    edge's length. 0 without ink.
    """
    framed = np.pad(ink, 1).astype(np.int16)
    edges = int(np.abs(np.diff(framed, axis=0)).sum() + np.abs(np.diff(framed, axis=1)).sum()) * np.pi / 4
    return 2 * int(ink.sum(dtype=np.int64)) / edges if edges else 0.0


def _widen(ink: Ink, pixels: int) -> Ink:
    """Strokes wider on either side by so many pixels; narrower where that is negative."""
    image = Image.fromarray(np.pad(ink, abs(pixels) + 1))
    for _ in range(abs(pixels)):
        image = image.filter(ImageFilter.MaxFilter(3) if pixels > 0 else ImageFilter.MinFilter(3))
    return np.asarray(image)
