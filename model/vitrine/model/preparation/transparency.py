"""Lays a transparent image on paper, so that its ink can be told from it.

Two kinds of images are transparent. In a drawing on a transparent canvas, the ink is what is opaque, whatever colour it
has. In a picture with a transparent margin or soft edges, what is opaque is the page, with the ink on it. It knows no
files and no digits.
"""

from collections.abc import Iterable
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Mask: TypeAlias = npt.NDArray[np.bool_]
"""The pixels that belong to something: bool (H, W)."""

Tone: TypeAlias = tuple[int, ...]
"""The red, green and blue of a colour, each 0 to 255."""

LEAST_ALPHA = 16
"""Alpha that differs by less is the same everywhere, and says nothing."""

OPAQUE = 0.95
"""The share of the highest alpha from which on a pixel is opaque: below it, colours may be mixed with the canvas's."""

PAGE_SIDE = 0.35
"""An opaque area that holds a square of this share of its length is a page rather than strokes."""

PAGE_CONTRAST, STROKE_CONTRAST = 32, 64
"""Grey levels from which on a page, or strokes, have more than one colour."""

EVEN_OUTLINE = 0.9
"""The share of an outline's pixels from which on their common colour is that of an outline round strokes."""

ERASER, BLACK, WHITE = 0.02, 64, 240
"""Strokes with this share of white and of black are ink and the white eraser of a drawing program."""

SMALL_SIDE = 128
"""The squares are searched for in a mask at most about so long."""


def is_transparent(image: Image.Image) -> bool:
    """Tells whether an RGBA image's alpha says anything; where it is the same everywhere, colours say it all."""
    return any_transparent([image])


def any_transparent(strips: Iterable[Image.Image]) -> bool:
    """`is_transparent` of an image in strips."""
    extremes = [cast(tuple[int, int], strip.getchannel("A").getextrema()) for strip in strips]
    return max(high for _, high in extremes) - min(low for low, _ in extremes) >= LEAST_ALPHA


def lay_on_paper(image: Image.Image) -> Image.Image:
    """A transparent RGBA image as L or RGB: a drawing's ink as black, or a page on more of its own paper."""
    alpha = np.asarray(image.getchannel("A"))
    colours = np.asarray(image.convert("RGB"))
    paper = _find_paper(colours, alpha >= OPAQUE * int(alpha.max()))
    if paper is None:
        return Image.fromarray(255 - alpha)
    return Image.alpha_composite(Image.new("RGBA", image.size, (*paper, 255)), image).convert("RGB")


def _find_paper(colours: npt.NDArray[np.uint8], opaque: Mask) -> Tone | None:
    """The colour of the paper on which the opaque pixels lie; None: they are ink themselves.

    Args:
        colours: uint8 (H, W, 3).
        opaque: bool (H, W), at least one pixel.
    """
    grey = np.asarray(Image.fromarray(colours).convert("L"))
    inside = grey[opaque]
    contrast = int(np.ptp(inside))
    outline = opaque & ~_shrunk(opaque)
    tone = np.median(colours[outline if outline.any() else opaque], axis=0)
    paper = tuple(round(float(value)) for value in tone)
    if _is_page(opaque):
        return paper if contrast >= PAGE_CONTRAST else None
    if contrast < STROKE_CONTRAST:
        return None
    level = float(np.median(grey[outline]))
    if (np.abs(grey[outline] - level) < STROKE_CONTRAST / 2).mean() >= EVEN_OUTLINE:
        others = np.abs(inside - level) >= STROKE_CONTRAST
        return paper if others.mean() >= ERASER else None
    light, dark = (inside >= WHITE).mean(), (inside <= BLACK).mean()
    return (255, 255, 255) if min(light, dark) >= ERASER and light + dark >= EVEN_OUTLINE else None


def _shrunk(mask: Mask) -> Mask:
    """The mask without its outermost pixels; the image's own border isn't one of its edges."""
    padded = Image.fromarray(np.pad(mask, 1, "edge").astype(np.uint8)).filter(ImageFilter.MinFilter(3))
    return np.asarray(padded)[1:-1, 1:-1].astype(np.bool_)


def _is_page(mask: Mask) -> bool:
    """Tells whether the mask holds a square as large as a page's."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    cell = -(-max(box.shape) // SMALL_SIDE)
    small = box[::cell, ::cell]
    side = max(int(PAGE_SIDE * max(small.shape)), 3)
    if min(small.shape) < side:
        return False
    sums = np.pad(small.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    squares = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return bool(squares.max() == side * side)
