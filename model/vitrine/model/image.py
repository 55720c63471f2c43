"""Reads whatever a user calls an image into a grey matrix.

It knows file formats, colour, transparency and orientation. What ink is, and where it lies, `preparation` knows.
"""

import io
import os
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from vitrine.model.errors import ImageError

ImageSource: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]
"""An image: a path, the bytes of a file, a PIL image, or a uint8 array (H, W), (H, W, 3) RGB or (H, W, 4) RGBA."""

Grey: TypeAlias = npt.NDArray[np.uint8]
"""A grey image, uint8 (H, W), 0 = black and 255 = white, as cameras and screens have it."""

MAX_IMAGE_PIXELS = 50_000_000
"""The largest width × height that is decoded: a larger one could fill the memory from a few bytes on disk."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""The file formats that are read. Pillow knows more, some of which run other programs (EPS) or are rarely tested."""

WORKING_SIDE = 512
"""Longer images are first averaged down towards this many pixels: 18 × 18 needs no more, and photos get cheap."""

CHANNELS = (3, 4)
"""RGB and RGBA."""


def read_grey(source: ImageSource, max_pixels: int = MAX_IMAGE_PIXELS) -> Grey:
    """Reads an image as grey: upright (EXIF), transparency over white, colour as ITU-R 601 luma.

    Args:
        source: a path, the bytes of an image file, a PIL image, or a uint8 array (H, W), (H, W, 3) or (H, W, 4).
        max_pixels: the largest width × height; checked against what the file declares before anything is decoded.

    Returns:
        uint8 (H, W), 0 = black and 255 = white; its longer side is below 2 × `WORKING_SIDE`.

    Raises:
        ImageError: it is missing, no image, truncated, larger than `max_pixels`, or of an unsupported kind.
    """
    if isinstance(source, np.ndarray):
        return _flatten(_from_array(source), max_pixels)
    if isinstance(source, Image.Image):
        return _flatten(source, max_pixels)
    if isinstance(source, bytes):
        return _decode(source, "the file", max_pixels)
    if isinstance(source, (str, os.PathLike)):
        return _decode(_read(Path(source)), str(source), max_pixels)
    raise ImageError(
        "IMAGE_UNSUPPORTED",
        f"an image is a path, bytes, a PIL image or a uint8 array, not {type(source).__name__}",
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError("IMAGE_NOT_FOUND", f"can't read {path}: {error.strerror}") from error


def _decode(data: bytes, name: str, max_pixels: int) -> Grey:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _flatten(image, max_pixels)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(
            "IMAGE_TOO_LARGE", f"{name} declares more than {max_pixels:,} pixels: scale it down"
        ) from error
    except Exception as error:  # decoders fed with damaged files raise nearly anything
        raise ImageError(
            "IMAGE_UNREADABLE",
            f"{name} can't be read as {', '.join(FORMATS[:-1])} or {FORMATS[-1]}: it is no image, truncated or damaged",
        ) from error


def _from_array(array: npt.NDArray[np.uint8]) -> Image.Image:
    if array.dtype != np.uint8:
        raise ImageError(
            "IMAGE_UNSUPPORTED", f"an image array holds uint8, 0 (black) to 255 (white), not {array.dtype}"
        )
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in CHANNELS)):
        raise ImageError("IMAGE_UNSUPPORTED", f"an image array is (H, W), (H, W, 3) or (H, W, 4), not {array.shape}")
    return Image.fromarray(array)


def _flatten(image: Image.Image, max_pixels: int) -> Grey:
    """An opened image as grey; nothing of a file is decoded before its declared size is known to be fine."""
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            "IMAGE_TOO_LARGE",
            f"the image is {width} × {height}; at most {max_pixels:,} pixels are decoded: scale it down",
        )
    if image.format == "JPEG":  # decodes at 1/2, 1/4 or 1/8 scale: a phone's photo costs a tenth
        image.draft(None, (WORKING_SIDE, WORKING_SIDE))
    image = _eight_bits(image)
    image = _shrink(ImageOps.exif_transpose(image))
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours)
    return np.asarray(image.convert("L"))


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit greys scaled to 8 bits; Pillow's own conversion would cut them off at 255."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))


def _shrink(image: Image.Image) -> Image.Image:
    factor = max(image.size) // WORKING_SIDE
    return image.reduce(factor) if factor > 1 and image.mode not in ("P", "1") else image
