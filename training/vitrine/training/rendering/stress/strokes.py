"""Redraws an MNIST digit at any size and with different pens, from 28 × 28 pixels to strokes of thousands of pixels.

The image is enlarged smoothly, so that its edges look like those of a pen. For thin pens, strokes are first reduced to
their centre lines, which are then drawn at the pen's width. This module knows neither paper nor light.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Digit: TypeAlias = npt.NDArray[np.uint8]
"""An MNIST digit: uint8 (28, 28), 0 = paper, 255 = ink."""

Strokes: TypeAlias = npt.NDArray[np.float32]
"""Ink coverage of each pixel: float32 (S, S), 0 to 1."""

StrokeMask: TypeAlias = npt.NDArray[np.bool_]
"""Pixels that belong to a stroke: bool (S, S)."""

MNIST_SIDE = 28
"""Side of an MNIST image, in pixels."""

OUTLINE_SCALE = 8
"""Upsampling factor for the outlines: finer than visible in the result."""

SKELETON_SCALE = 3
"""Upsampling factor for the centre lines."""

EDGE_LEVEL = 0.45
"""Share of full ink at a stroke's edge. At 0.5, faint hairlines of some writers break."""


def pen_strokes(digit: Digit, side: int) -> Strokes:
    """The original strokes, enlarged: float32 (`side`, `side`)."""
    return _resized(_outline(digit), side)


def marker_strokes(digit: Digit, side: int, width: float) -> Strokes:
    """Strokes at least about `width` MNIST pixels wide, with loops that stay open: float32 (`side`, `side`)."""
    outline = Image.fromarray(_outline(digit))
    for _ in range(round((width - _width(np.asarray(outline))) * OUTLINE_SCALE / 2)):
        outline = outline.filter(ImageFilter.MaxFilter(3))
    return _resized(np.asarray(outline.filter(ImageFilter.GaussianBlur(OUTLINE_SCALE / 4))), side)


def _width(outline: npt.NDArray[np.uint8]) -> float:
    """Mean width of the strokes in MNIST pixels: twice their area divided by the length of their edges."""
    inside = outline > 127
    edges = (inside[1:] != inside[:-1]).sum() + (inside[:, 1:] != inside[:, :-1]).sum()
    return float(2 * inside.sum() / max(edges * np.pi / 4, 1)) / OUTLINE_SCALE


def fine_pen_strokes(digit: Digit, side: int, width: int) -> Strokes:
    """The strokes' centre lines, `width` output pixels wide: float32 (`side`, `side`)."""
    paper = Image.new("L", (side, side))
    pen = ImageDraw.Draw(paper)
    for start, end in centre_lines(digit):
        pen.line((*(start * side), *(end * side)), fill=255, width=width)
    return np.asarray(paper, np.float32) / np.float32(255)


def centre_lines(digit: Digit) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Centre lines of a digit's strokes, as short segments from (x, y) to (x, y), each 0 to 1."""
    side = MNIST_SIDE * SKELETON_SCALE
    lines = thin(_resized(_outline(digit), side) > 0.5)
    places = _smoothed_places(lines)  # (2, S, S)
    pairs = []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        linked = lines & _shifted(lines, -down, -right)
        for y, x in np.argwhere(linked):
            pairs.append((places[:, y, x] / side, places[:, y + down, x + right] / side))
        pairs += [(places[:, y, x] / side,) * 2 for y, x in np.argwhere(lines)] if (down, right) == (0, 1) else []
    return pairs


def thin(mask: StrokeMask) -> StrokeMask:
    """Thins strokes to connected lines one pixel wide.

    T. Y. Zhang and C. Y. Suen, "A fast parallel algorithm for thinning digital patterns", CACM 27 (1984).
    """
    mask = mask.copy()
    while True:
        before = int(mask.sum())
        for first in (True, False):
            mask &= ~_removable(mask, first)
        if mask.sum() == before:
            return mask


def _removable(mask: StrokeMask, first: bool) -> StrokeMask:
    """Edge pixels that one of the two passes removes; P2 to P9 are the neighbours, clockwise from above."""
    ring = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
    neighbours = [_shifted(mask, -down, -right) for down, right in ring]
    p2, _, p4, _, p6, _, p8, _ = neighbours
    count = np.sum(neighbours, axis=0)
    turns = np.sum([~a & b for a, b in zip(neighbours, neighbours[1:] + neighbours[:1], strict=True)], axis=0)
    ends = (~(p2 & p4 & p6) & ~(p4 & p6 & p8)) if first else (~(p2 & p4 & p8) & ~(p2 & p6 & p8))
    removable: StrokeMask = mask & (count >= 2) & (count <= 6) & (turns == 1) & ends
    return removable


def _shifted(mask: StrokeMask, down: int, right: int) -> StrokeMask:
    """A mask shifted by at most one pixel; pixels from outside are empty."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    return padded[1 - down : 1 - down + height, 1 - right : 1 - right + width]


def _smoothed_places(lines: StrokeMask) -> npt.NDArray[np.float64]:
    """Position of each line pixel, averaged with its neighbours on the line to remove stairs: (2, S, S)."""
    y, x = np.mgrid[: lines.shape[0], : lines.shape[1]] + 0.5
    places = np.stack([x, y])  # (2, S, S)
    for _ in range(3):
        near = _windows(lines.astype(np.float64))
        total = near.sum(axis=(-1, -2))
        places = np.stack([(_windows(place * lines)).sum(axis=(-1, -2)) for place in places]) / np.maximum(total, 1)
    return places


def _windows(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """3 × 3 neighbourhood of each pixel: (S, S) to (S, S, 3, 3)."""
    return np.lib.stride_tricks.sliding_window_view(np.pad(values, 1), (3, 3))


def _outline(digit: Digit) -> npt.NDArray[np.uint8]:
    """The digit, upsampled by `OUTLINE_SCALE`, with the sharp edges of a pen: uint8 (224, 224)."""
    side = MNIST_SIDE * OUTLINE_SCALE
    soft = np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC), np.float32) / 255
    steep = ((soft - EDGE_LEVEL) * OUTLINE_SCALE / 2 + 0.5).clip(0, 1)
    outline: npt.NDArray[np.uint8] = np.rint(255 * steep).astype(np.uint8)
    return outline


def _resized(outline: npt.NDArray[np.uint8], side: int) -> Strokes:
    return np.asarray(Image.fromarray(outline).resize((side, side), Image.Resampling.BICUBIC), np.float32) / np.float32(
        255
    )
