"""Writes a digit anew, at any size and with any pen: from 28 × 28 pixels to strokes of hundreds or thousands.

MNIST's images are enlarged smoothly, so that edges are those of a pen and not of pixels. For thin pens the strokes are
thinned to their centre lines first, which are then drawn as wide as the pen is. It knows no paper and no light.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Digit: TypeAlias = npt.NDArray[np.uint8]
"""A digit of MNIST: uint8 (28, 28), 0 = paper, 255 = ink."""

Strokes: TypeAlias = npt.NDArray[np.float32]
"""How much of each pixel the ink covers: float32 (S, S), 0 to 1."""

StrokeMask: TypeAlias = npt.NDArray[np.bool_]
"""Which pixels belong to a stroke: bool (S, S)."""

MNIST_SIDE = 28
"""The side of a digit's field."""

OUTLINE_SCALE = 8
"""Edges are found on a field so many times as fine: rounder than any that people see in the end."""

SKELETON_SCALE = 3
"""Centre lines are found on a field so many times as fine."""

EDGE_LEVEL = 0.45
"""The share of full ink that counts as a stroke's edge; at a half, faint hairlines of some writers break."""


def pen_strokes(digit: Digit, side: int) -> Strokes:
    """The strokes as they were written: float32 (`side`, `side`)."""
    return _resized(_outline(digit), side)


def marker_strokes(digit: Digit, side: int, width: float) -> Strokes:
    """The strokes, made about `width` of MNIST's pixels wide where they are thinner; loops stay open enough to read."""
    outline = Image.fromarray(_outline(digit))
    for _ in range(round((width - _width(np.asarray(outline))) * OUTLINE_SCALE / 2)):
        outline = outline.filter(ImageFilter.MaxFilter(3))
    return _resized(np.asarray(outline.filter(ImageFilter.GaussianBlur(OUTLINE_SCALE / 4))), side)


def _width(outline: npt.NDArray[np.uint8]) -> float:
    """How wide the strokes are, in MNIST's pixels: twice their area for their edges' length."""
    inside = outline > 127
    edges = (inside[1:] != inside[:-1]).sum() + (inside[:, 1:] != inside[:, :-1]).sum()
    return float(2 * inside.sum() / max(edges * np.pi / 4, 1)) / OUTLINE_SCALE


def fine_pen_strokes(digit: Digit, side: int, width: int) -> Strokes:
    """The strokes' centre lines, `width` of the new pixels wide; float32 (`side`, `side`)."""
    paper = Image.new("L", (side, side))
    pen = ImageDraw.Draw(paper)
    for start, end in centre_lines(digit):
        pen.line((*(start * side), *(end * side)), fill=255, width=width)
    return np.asarray(paper, np.float32) / np.float32(255)


def centre_lines(digit: Digit) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """The centre lines of a digit's strokes, as short lines from (x, y) to (x, y), each 0 to 1 in the field."""
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
    """Thins strokes to lines one pixel wide that hang together as the strokes did.

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
    """The edge pixels that one of the two passes takes away: P2 to P9 are the neighbours, clockwise from above."""
    ring = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
    neighbours = [_shifted(mask, -down, -right) for down, right in ring]
    p2, _, p4, _, p6, _, p8, _ = neighbours
    count = np.sum(neighbours, axis=0)
    turns = np.sum([~a & b for a, b in zip(neighbours, neighbours[1:] + neighbours[:1], strict=True)], axis=0)
    ends = (~(p2 & p4 & p6) & ~(p4 & p6 & p8)) if first else (~(p2 & p4 & p8) & ~(p2 & p6 & p8))
    removable: StrokeMask = mask & (count >= 2) & (count <= 6) & (turns == 1) & ends
    return removable


def _shifted(mask: StrokeMask, down: int, right: int) -> StrokeMask:
    """A mask moved by one pixel at most; what comes in is empty."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    return padded[1 - down : 1 - down + height, 1 - right : 1 - right + width]


def _smoothed_places(lines: StrokeMask) -> npt.NDArray[np.float64]:
    """Where each pixel of the lines lies, averaged with its neighbours on them, so that no stairs show: (2, S, S)."""
    y, x = np.mgrid[: lines.shape[0], : lines.shape[1]] + 0.5
    places = np.stack([x, y])  # (2, S, S)
    for _ in range(3):
        near = _windows(lines.astype(np.float64))
        total = near.sum(axis=(-1, -2))
        places = np.stack([(_windows(place * lines)).sum(axis=(-1, -2)) for place in places]) / np.maximum(total, 1)
    return places


def _windows(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Each pixel's 3 × 3 neighbourhood: (S, S) to (S, S, 3, 3)."""
    return np.lib.stride_tricks.sliding_window_view(np.pad(values, 1), (3, 3))


def _outline(digit: Digit) -> npt.NDArray[np.uint8]:
    """The digit on a field `OUTLINE_SCALE` times as fine, with the sharp edge of a pen: uint8 (224, 224)."""
    side = MNIST_SIDE * OUTLINE_SCALE
    soft = np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC), np.float32) / 255
    steep = ((soft - EDGE_LEVEL) * OUTLINE_SCALE / 2 + 0.5).clip(0, 1)
    outline: npt.NDArray[np.uint8] = np.rint(255 * steep).astype(np.uint8)
    return outline


def _resized(outline: npt.NDArray[np.uint8], side: int) -> Strokes:
    return np.asarray(Image.fromarray(outline).resize((side, side), Image.Resampling.BICUBIC), np.float32) / np.float32(
        255
    )
