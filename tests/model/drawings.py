"""Drawings of a digit on any canvas, for tests of image preparation."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from vitrine.model.preparation.metadata import PNG

Ink = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""The first column, the first row, and the steps of PNG's seven passes."""

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


def deep_png(channels: npt.NDArray[np.uint16], interlaced: bool = False) -> bytes:
    """A PNG with 16 bits in each of 2 to 4 channels, which Pillow can't write; uint16 (H, W, C)."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, count = channels.shape
    passes = [channels[y::down, x::across] for x, y, across, down in ADAM7] if interlaced else [channels]
    rows = (b"\0" + row.astype(">u2").tobytes() for part in passes if part.size for row in part)
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[count], 0, 0, int(interlaced))
    coded = zlib.compress(b"".join(rows))
    parts = (coded[: len(coded) // 2], coded[len(coded) // 2 :])
    return PNG + chunk(b"IHDR", header) + b"".join(chunk(b"IDAT", part) for part in parts) + chunk(b"IEND", b"")
