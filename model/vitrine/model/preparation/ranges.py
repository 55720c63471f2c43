"""Brings values of another range than 0 to 255 into it: masks of 0 and 1, data sets of 0 to 16, cameras of 12 bits.

Preparation measures contrast, so that any factor is right that makes ink visible. It knows no files.
"""

from collections.abc import Iterable, Iterator
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from vitrine.model.errors import ImageError
from vitrine.model.preparation.strips import Strips

DEPTHS = (8, 10, 12, 16)
"""Bits that images of 16 bits use: the fewest that hold the highest value. 14 bits have contrast enough as they are."""

NARROW = 16
"""The highest value of images that aren't of 0 to 255: masks have 0 and 1, and other data sets 0 to 15 or 16."""

SMALL_SIDE = 16
"""Longest side of images whose strokes are too thin to be told from noise, and often reach the border."""


def to_eight_bits(values: npt.NDArray[Any], name: str) -> npt.NDArray[np.uint8]:
    """Whole numbers or truth values as uint8, 0 to 255, of the same shape.

    Raises:
        ImageError: they aren't whole numbers, or lie outside 0 to 65535.
    """
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind not in "iu":
        raise ImageError(
            "IMAGE_UNSUPPORTED",
            f"an image array holds uint8, 0 (black) to 255 (white), not {values.dtype}{_range(values)}",
        )
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest >= 1 << DEPTHS[-1]:
        raise ImageError(
            "IMAGE_UNSUPPORTED",
            f"{name} has values from {lowest} to {highest}: an image has 0 (black) to 255 (white), or to 65535 with "
            "16 bits; scale it to 0 to 255",
        )
    depth = next(bits for bits in DEPTHS if highest < 1 << bits)
    return (values >> (depth - 8)).astype(np.uint8)


def _range(values: npt.NDArray[Any]) -> str:
    """The text of an error: the range found in an array of floats, and the remedy."""
    if values.dtype.kind != "f" or values.size == 0:
        return ": convert it with array.astype(numpy.uint8)"
    lowest, highest = float(values.min()), float(values.max())
    if lowest >= 0 and highest <= 1:
        advice = "(255 * array).astype(numpy.uint8)"
    elif lowest >= 0 and highest <= 255:
        advice = "array.astype(numpy.uint8)"
    else:
        advice = "values scaled to 0 to 255, as numpy.uint8"
    return f" from {lowest:g} to {highest:g}: use {advice}"


def is_narrow(grey: npt.NDArray[np.uint8]) -> bool:
    """Tells whether a grey image's values may be of a narrower range than 0 to 255: no pixel is light."""
    return int(grey.max()) <= NARROW


def spread(image: Image.Image) -> Image.Image:
    """The image with its highest value at 255 if its values are of a narrow range; else the same object.

    A tiny one is also given a border of paper.

    Args:
        image: of mode L, RGB or RGBA.
    """
    values = np.asarray(image)
    highest = int(values.max())
    if highest > NARROW or highest == int(values.min()):
        return image
    if highest > 1 and max(image.size) > SMALL_SIDE and not _is_drawn([image], highest):
        return image
    full = _levels(highest)[values]
    return Image.fromarray(_framed(full) if max(image.size) <= SMALL_SIDE else full)


def spread_strips(strips: Strips) -> Strips:
    """`spread` of a large image: with one more step where its values are of a narrow range; else the same object."""
    extremes = [extreme for strip in strips.cut() for extreme in _extremes(strip)]
    highest = max(extremes)
    if highest > NARROW or highest == min(extremes):
        return strips
    if highest > 1 and not _is_drawn(strips.cut(overlap=1), highest):
        return strips
    levels = _levels(highest).tolist()
    return strips.then(lambda strip: strip.point(levels * len(strip.getbands())))


def _extremes(image: Image.Image) -> Iterator[int]:
    """The lowest and the highest value of each channel of an image with 8 bits a channel."""
    for band in image.split():
        yield from map(int, cast(tuple[int, int], band.getextrema()))


def _levels(highest: int) -> npt.NDArray[np.uint8]:
    """The value for each of the 256 values, uint8 (256,), with `highest` and what is above it at 255."""
    return np.minimum(np.arange(256) * 255 / highest, 255).round().astype(np.uint8)


def _framed(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Values with one more pixel of paper around them: in tiny images, strokes often reach the border."""
    height, width, *channels = values.shape
    paper = np.median(np.concatenate((values[0], values[-1], values[:, 0], values[:, -1])), axis=0)
    framed = np.empty((height + 2, width + 2, *channels), np.uint8)
    framed[:] = paper
    framed[1:-1, 1:-1] = values
    return framed


def _is_drawn(strips: Iterable[Image.Image], highest: int) -> bool:
    """Tells strokes from the noise of a dark photo: noise doesn't outlast a median filter.

    Args:
        strips: the image, or its strips with one row of their neighbours each.
        highest: its highest value.
    """
    calm = (np.asarray(strip.convert("L").filter(ImageFilter.MedianFilter(3)))[1:-1, 1:-1] for strip in strips)
    extremes = [(int(inside.min()), int(inside.max())) for inside in calm if inside.size]  # a border is seen twice
    return bool(extremes) and max(high for _, high in extremes) - min(low for low, _ in extremes) > highest / 2
