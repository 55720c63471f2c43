"""Shows how an image becomes pixels: a picture after each step, for people to look at.

It calls the steps of `pipeline` in their order, so that its pixels are those of `prepare`, byte for byte.
"""

import numpy as np
from PIL import Image

from vitrine.model.digits import PIXELS_SHAPE
from vitrine.model.preparation.image import Grey
from vitrine.model.preparation.photo import Ink
from vitrine.model.preparation.pipeline import Pixels, Shape, find_box, place, stretch
from vitrine.model.preparation.step import DESCRIPTIONS, Step

PICTURE_SIDE = 160
"""Longer pictures are averaged down towards this many pixels: people see no more in a row of them."""


def show_steps(grey: Grey, shape: Shape = PIXELS_SHAPE) -> tuple[Pixels, tuple[Step, ...]]:
    """The pixels of a grey image, and a picture after each step on the way to them.

    Args:
        grey: as `read_grey` gives it, uint8 (H, W), 0 = black and 255 = white.
        shape: height and width of the pixels.

    Returns:
        The pixels, uint8 `shape`, 0 = white (paper), 255 = black (ink); and one step for each of `DESCRIPTIONS`.
    """
    box = find_box(grey)
    placed = place(box, shape)
    pixels = stretch(placed)
    pictures = (grey, _on_paper(box), _on_paper(placed), _on_paper(pixels))
    return pixels, tuple(Step(name, _small(picture)) for name, picture in zip(DESCRIPTIONS, pictures, strict=True))


def _on_paper(ink: Ink) -> Grey:
    """Ink as screens show it: black on white."""
    return 255 - ink


def _small(picture: Grey) -> Grey:
    factor = max(picture.shape) // PICTURE_SIDE
    return np.asarray(Image.fromarray(picture).reduce(factor)) if factor > 1 else picture
