"""Drawings of a digit on any canvas, for tests of image preparation."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Ink = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def ink_of_a_two(side: int = 240) -> Ink:
    """A 2 with soft edges: uint8 (side, side), 0 = nothing and 255 = ink."""
    large = Image.new("L", (960, 960))
    pen = ImageDraw.Draw(large)
    pen.arc((300, 160, 660, 520), 180, 40, fill=255, width=90)
    pen.line((600, 450, 330, 790, 680, 790), fill=255, width=90, joint="curve")
    return np.asarray(large.resize((side, side), Image.Resampling.BOX))


def drawn(alpha: Ink, colours: Any) -> Image.Image:
    """An RGBA image: one colour, or a colour for each pixel, (H, W, 3)."""
    pixels = np.zeros((*alpha.shape, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = colours, alpha
    return Image.fromarray(pixels)


def page(paper: Colour, colour: Colour, side: int = 240) -> Image.Image:
    """A 2 in one colour on paper of another: RGB."""
    share = ink_of_a_two(side)[..., None] / 255
    return Image.fromarray(np.rint(np.array(paper) * (1 - share) + np.array(colour) * share).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Bytes of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
