"""Reads the lower 8 of 16 bits of a colour image's channels: Pillow keeps the upper 8 alone.

Files that use 8, 10 or 12 of their 16 bits would come out black, or with few levels. It knows PNG's chunks and Pillow's
raw modes, and nothing of paper and ink.
"""

from collections.abc import Iterator, Sequence
from typing import cast

from PIL import Image, ImageChops

from vitrine.model.errors import ImageError
from vitrine.model.preparation.metadata import PNG
from vitrine.model.preparation.ranges import DEPTHS, NARROW

SIXTEEN_BITS = ";16"
"""A part of Pillow's raw modes of images with 16 bits a channel."""

MODES = ("RGB", "RGBA")
"""The modes of images whose bits Pillow drops; grey with alpha becomes RGBA."""

LOWER = {
    "RGB;16B": ("RGB", "RGB;16L", (0, 1, 2)),
    "RGBA;16B": ("RGBA", "RGBA;16L", (0, 1, 2, 3)),
    "LA;16B": ("RGBA", "RGBA", (1, 1, 1, 3)),
}
"""For each raw mode of PNG: a mode and a raw mode that give the lower bytes, and the channels with them."""

COLOURS = 3
"""The number of channels that aren't alpha."""


def cut_off(image: Image.Image) -> str:
    """The raw mode of an opened image, the lower 8 of whose 16 bits are dropped when it is decoded; else empty."""
    raw_modes = [str(tile[3]) for tile in getattr(image, "tile", ())] if image.mode in MODES else []
    return next((raw_mode for raw_mode in raw_modes if SIXTEEN_BITS in raw_mode), "")


def uses_few_bits(image: Image.Image) -> bool:
    """Tells whether the colours of a decoded image, the upper 8 of 16 bits, are those of 12 bits or fewer."""
    return max(map(_highest, image.split()[:COLOURS])) < NARROW


def check_upper_bits(image: Image.Image, name: str) -> None:
    """Raises an `ImageError` for a decoded image of which the upper 8 of 16 bits say nothing."""
    if max(map(_highest, image.split()[:COLOURS])) == 0:
        raise ImageError(
            "IMAGE_UNSUPPORTED",
            f"{name} has 16 bits a channel and values from 0 to 255 at most, and Pillow keeps the upper 8 bits alone: "
            "save it with 8 bits a channel, or as PNG and pass its path or its bytes",
        )


def read_all_bits(image: Image.Image, data: bytes, raw_mode: str) -> Image.Image:
    """A decoded PNG of 16 bits a channel with the 8 bits that its values use, of the same mode.

    Colours and alpha are told apart: many a program writes 8 bits of colour, and 16 of alpha.

    Args:
        image: the image with the upper 8 bits of its channels.
        data: the bytes of its file.
        raw_mode: `cut_off` of it, before it was decoded.
    """
    mode, lower_mode, places = LOWER[raw_mode]
    interlaced = int(bool(image.info.get("interlace")))
    lower = Image.frombytes(mode, image.size, b"".join(_coded(data)), "zip", lower_mode, interlaced).split()
    upper, kept = image.split(), [lower[place] for place in places]
    colours, alpha = (_eight_bits(upper[part], kept[part]) for part in (slice(COLOURS), slice(COLOURS, None)))
    return Image.merge(image.mode, [*colours, *alpha])


def _eight_bits(upper: Sequence[Image.Image], lower: Sequence[Image.Image]) -> Iterator[Image.Image]:
    """The 8 bits of some channels that their values use, from the upper and the lower bytes."""
    if not upper:
        return
    highest = max(map(_highest, upper))
    depth = next(bits for bits in DEPTHS if highest < 1 << (bits - 8))
    up = [min(value << (16 - depth), 255) for value in range(256)]
    down = [value >> (depth - 8) for value in range(256)]
    for high, low in zip(upper, lower, strict=True):
        yield ImageChops.add(high.point(up), low.point(down))


def _highest(band: Image.Image) -> int:
    """The highest value of a channel of 8 bits."""
    _, highest = cast(tuple[int, int], band.getextrema())
    return highest


def _coded(data: bytes) -> Iterator[bytes]:
    """The coded pixels of a sound PNG file."""
    begin = len(PNG)
    while begin + 12 <= len(data):
        length = int.from_bytes(data[begin : begin + 4], "big")
        if data.startswith(b"IDAT", begin + 4):
            yield data[begin + 8 : begin + 8 + length]
        begin += 12 + length
