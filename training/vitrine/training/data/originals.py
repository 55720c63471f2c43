"""Originals: the ink of images before it becomes pixels, so that training bends it and resamples it only once.

Pixels that are bent afterwards are resampled twice, and a thin loop becomes a blot. It knows no labels.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from vitrine.model import PIXELS_SHAPE, Pixels, Shape
from vitrine.model.preparation.photo import Ink
from vitrine.model.preparation.pipeline import find_frame
from vitrine.training.lengths import longer_side

CANVAS = 28
"""The side of the canvas that an original lies on, in pixels, for 18 × 18: MNIST's own. It grows with the shape."""

LARGEST = 24
"""The longest side of a box on the canvas, in pixels, for 18 × 18; a photo's box is scaled down to it.

That is half as fine again as the pixels, and no finer, because each pixel of a bent image is read from four."""

SMALLEST = 16
"""The longest side of the smallest box that stays as it is, for 18 × 18.

A box that is coarser than the pixels is scaled up to `LARGEST`, by a better filter than that of bending."""


@dataclass(frozen=True, slots=True, eq=False)
class Originals:
    """Ink, and the place of the pixels' frame over it."""

    ink: npt.NDArray[np.uint8]
    """uint8 (N, H, W), 0 = paper, 255 = ink."""
    frames: npt.NDArray[np.float32]
    """float32 (N, 3): the frame's top, left and height, measured in pixels of `ink`; it may reach beyond the canvas."""

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, chosen: npt.NDArray[np.int64] | slice) -> Self:
        return type(self)(self.ink[chosen], self.frames[chosen])

    def __add__(self, others: Self) -> Self:
        return type(self)(np.concatenate((self.ink, others.ink)), np.concatenate((self.frames, others.frames)))

    @classmethod
    def of_pixels(cls, pixels: npt.NDArray[np.uint8]) -> Self:
        """Prepared pixels as their own originals, where nothing finer is left: uint8 (N, height, width)."""
        return cls(pixels, np.tile(np.array([0, 0, pixels.shape[1]], np.float32), (len(pixels), 1)))

    @classmethod
    def of_boxes(cls, boxes: list[Ink], shape: Shape = PIXELS_SHAPE) -> Self:
        """The boxes of ink that `find_box` gives, each in the middle of a canvas; `shape` is that of the pixels."""
        placed, side = [_on_canvas(box, shape) for box in boxes], canvas_side(shape)
        ink = np.stack([canvas for canvas, _ in placed]) if placed else np.empty((0, side, side), np.uint8)
        return cls(ink, np.array([frame for _, frame in placed], np.float32).reshape(-1, 3))


def canvas_side(shape: Shape) -> int:
    """The side of the canvas for pixels of a height and width."""
    return math.ceil(CANVAS * longer_side(shape))


def _on_canvas(box: Ink, shape: Shape) -> tuple[Pixels, tuple[float, float, float]]:
    """A canvas with the box in its middle, and the frame around it."""
    box, side = _scaled(box, longer_side(shape)), canvas_side(shape)
    top, left = ((side - extent) // 2 for extent in box.shape)
    canvas = np.zeros((side, side), np.uint8)
    canvas[top : top + box.shape[0], left : left + box.shape[1]] = box
    frame = find_frame(box, shape)
    return canvas, (top + frame.top, left + frame.left, frame.height)


def _scaled(box: Ink, fineness: float) -> Ink:
    largest = int(LARGEST * fineness)
    if SMALLEST * fineness <= max(box.shape) <= largest:
        return box
    height, width = (max(1, round(extent * largest / max(box.shape))) for extent in box.shape)
    return np.asarray(Image.fromarray(box).resize((width, height), Image.Resampling.HAMMING))
