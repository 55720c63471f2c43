"""Originals: the ink of images before it becomes 18 × 18 pixels, so that training bends it and resamples it only once.

Pixels that are bent afterwards are resampled twice, and lose what tells a thin loop from a blot. It knows no labels.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from vitrine.model import PIXELS_SHAPE, Pixels
from vitrine.model.preparation.photo import Ink
from vitrine.model.preparation.pipeline import find_frame

SIDE = PIXELS_SHAPE[0]

CANVAS = 28
"""The side of the canvas that an original lies on, in pixels: MNIST's own."""

LARGEST = 24
"""The longest side of a box on the canvas, in pixels; a photo's is scaled down to it. Half as fine again as what the
model sees, and no finer, as each pixel of a bent image is read from four."""

SMALLEST = 16
"""The longest side of the smallest box that stays as it is; one that is coarser than the pixels is scaled up to
`LARGEST`, by a better filter than bending has."""


@dataclass(frozen=True, slots=True, eq=False)
class Originals:
    """Ink, and where the frame of 18 × 18 pixels lies over it."""

    ink: npt.NDArray[np.uint8]
    """uint8 (N, H, W), 0 = paper, 255 = ink."""
    frames: npt.NDArray[np.float32]
    """float32 (N, 3): the frame's top, left and side, measured in pixels of `ink`; it may reach beyond the canvas."""

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, chosen: npt.NDArray[np.int64] | slice) -> Self:
        return type(self)(self.ink[chosen], self.frames[chosen])

    def __add__(self, others: Self) -> Self:
        return type(self)(np.concatenate((self.ink, others.ink)), np.concatenate((self.frames, others.frames)))

    @classmethod
    def of_pixels(cls, pixels: npt.NDArray[np.uint8]) -> Self:
        """Prepared pixels as their own originals, where nothing finer is left: uint8 (N, 18, 18)."""
        return cls(pixels, np.tile(np.array([0, 0, SIDE], np.float32), (len(pixels), 1)))

    @classmethod
    def of_boxes(cls, boxes: list[Ink]) -> Self:
        """The boxes of ink that `find_box` gives, each in the middle of a canvas."""
        placed = [_on_canvas(box) for box in boxes]
        ink = np.stack([canvas for canvas, _ in placed]) if placed else np.empty((0, CANVAS, CANVAS), np.uint8)
        return cls(ink, np.array([frame for _, frame in placed], np.float32).reshape(-1, 3))


def _on_canvas(box: Ink) -> tuple[Pixels, tuple[float, float, float]]:
    """A canvas with the box in its middle, and the frame around it."""
    box = _scaled(box)
    top, left = ((CANVAS - extent) // 2 for extent in box.shape)
    canvas = np.zeros((CANVAS, CANVAS), np.uint8)
    canvas[top : top + box.shape[0], left : left + box.shape[1]] = box
    frame = find_frame(box)
    return canvas, (top + frame.top, left + frame.left, frame.height)


def _scaled(box: Ink) -> Ink:
    if SMALLEST <= max(box.shape) <= LARGEST:
        return box
    height, width = (max(1, round(extent * LARGEST / max(box.shape))) for extent in box.shape)
    return np.asarray(Image.fromarray(box).resize((width, height), Image.Resampling.HAMMING))
