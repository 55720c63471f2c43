"""Reads any image of a user into a grey matrix.

It knows file formats, colour, transparency and orientation; the modules beside it find the ink.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

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
"""Longer images are first averaged down towards this many pixels: models need no more, and photos get cheap."""

CHANNELS = (3, 4)
"""RGB and RGBA."""

MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I;16", "I;16B")
"""Pillow's modes of images whose values have a known white; 32-bit integers and floats have none."""


def read_grey(source: ImageSource, max_pixels: int = MAX_IMAGE_PIXELS) -> Grey:
    """Reads an image as grey: upright (EXIF), transparency over white, colour as ITU-R 601 luma.

    Args:
        source: a path, the bytes of an image file, a PIL image, or a uint8 array (H, W), (H, W, 3) or (H, W, 4).
            A PIL image is left as it is.
        max_pixels: the largest width × height; checked against what the file declares before anything is decoded.

    Returns:
        uint8 (H, W), 0 = black and 255 = white; its longer side is below 2 × `WORKING_SIDE`.

    Raises:
        ImageError: it is missing, no image, truncated, larger than `max_pixels`, or of an unsupported kind.
    """
    if isinstance(source, np.ndarray):
        return _read_array(source, max_pixels)
    if isinstance(source, Image.Image):
        return _flatten(source, "the image", max_pixels)
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
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        why = error.strerror if isinstance(error, OSError) else error
        raise ImageError("IMAGE_NOT_FOUND", f"can't read {path}: {why}") from error


def _decode(data: bytes, name: str, max_pixels: int) -> Grey:
    with _decoding(name):
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    with image:
        _check_size(image, name, max_pixels)
        if image.format == "JPEG":  # decodes at 1/2, 1/4 or 1/8 scale: a phone's photo costs a tenth
            image.draft(None, (WORKING_SIDE, WORKING_SIDE))
        return _flatten(image, name, max_pixels)


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turns what decoders raise into an `ImageError`: fed with damaged files, they raise nearly anything."""
    try:
        yield
    except MemoryError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError("IMAGE_TOO_LARGE", f"{name} declares more pixels than any image has: scale it down") from error
    except Exception as error:
        kinds = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise ImageError(
            "IMAGE_UNREADABLE", f"{name} can't be read as {kinds}: it is no image, truncated or damaged"
        ) from error


def _read_array(array: npt.NDArray[np.uint8], max_pixels: int) -> Grey:
    if array.dtype != np.uint8:
        raise ImageError(
            "IMAGE_UNSUPPORTED", f"an image array holds uint8, 0 (black) to 255 (white), not {array.dtype}"
        )
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in CHANNELS)):
        raise ImageError("IMAGE_UNSUPPORTED", f"an image array is (H, W), (H, W, 3) or (H, W, 4), not {array.shape}")
    if array.ndim == 2 and max(array.shape) < 2 * WORKING_SIDE and array.size <= max_pixels:
        grey = array.view()  # nothing to convert: data sets have a hundred thousand of these
        grey.flags.writeable = False
        return grey
    return _flatten(Image.fromarray(array), "the array", max_pixels)


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        message = f"{name} is {width} × {height}; at most {max_pixels:,} pixels are decoded: scale it down"
        raise ImageError("IMAGE_TOO_LARGE", message)
    if width * height == 0:
        raise ImageError("IMAGE_UNSUPPORTED", f"{name} is {width} × {height}: it has no pixels")


def _flatten(image: Image.Image, name: str, max_pixels: int) -> Grey:
    """An opened image as grey; nothing of it is decoded before its declared size is known to be fine."""
    _check_size(image, name, max_pixels)
    if image.mode not in MODES:
        raise ImageError("IMAGE_UNSUPPORTED", f"{name} is of mode {image.mode}: convert it to grey, RGB or RGBA")
    with _decoding(name):
        upright = _upright(image)
    small = _shrink(_plain(upright))
    if small.mode == "RGBA":
        small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small)
    return np.asarray(small if small.mode == "L" else small.convert("L"))


def _upright(image: Image.Image) -> Image.Image:
    """The decoded image, turned as its file says; the same object where there is nothing to turn."""
    image.load()
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return ImageOps.exif_transpose(image) if turned else image


def _plain(image: Image.Image) -> Image.Image:
    """The image with 8 bits a channel and no palette: what can be averaged."""
    if image.mode.startswith("I;16"):  # Pillow's own conversion would cut greys off at 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode == "L" else image.convert("RGB")


def _shrink(image: Image.Image) -> Image.Image:
    factor = max(image.size) // WORKING_SIDE
    return image.reduce(factor) if factor > 1 else image
