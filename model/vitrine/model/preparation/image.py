"""Reads any image of a user into a grey matrix.

It knows which files, arrays and Pillow modes are images; `metadata`, `transparency` and `ranges` know what is odd about
some. The modules beside them find the ink.
"""

import io
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from vitrine.model.errors import ImageError
from vitrine.model.preparation.cost import decoding_bytes
from vitrine.model.preparation.deep import check_upper_bits, cut_off, read_all_bits, uses_few_bits
from vitrine.model.preparation.files import read_image_file
from vitrine.model.preparation.limits import MAX_IMAGE_PIXELS
from vitrine.model.preparation.metadata import (
    advice_for,
    count_scans,
    find_turn,
    name_format,
    no_warnings,
    without_metadata,
)
from vitrine.model.preparation.parts import check_parts
from vitrine.model.preparation.ranges import is_narrow, spread, spread_strips, to_eight_bits
from vitrine.model.preparation.strips import Strips
from vitrine.model.preparation.transparency import any_transparent, is_transparent, lay_on_paper

ImageSource: TypeAlias = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | IO[bytes]
    | Image.Image
    | npt.NDArray[np.uint8]
    | npt.NDArray[np.integer[Any]]
    | npt.NDArray[np.bool_]
)
"""An image: a path, the bytes of a file, an open binary file, a PIL image, or an array of whole numbers or truth
values, (H, W), (H, W, 3) RGB or (H, W, 4) RGBA."""

Buffer: TypeAlias = bytes | bytearray | memoryview
"""The bytes of a file."""

BUFFERS = (bytes, bytearray, memoryview)

Grey: TypeAlias = npt.NDArray[np.uint8]
"""A grey image, uint8 (H, W), 0 = black and 255 = white, as cameras and screens have it."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""The file formats that are read. Pillow knows more, some of which run other programs (EPS) or are rarely tested."""

JPEGS = ("JPEG", "MPO")
"""Pillow's names of a JPEG; MPO: more pictures follow, and the first is read."""

WORKING_SIDE = 512
"""Longer images are first averaged down towards this many pixels: models need no more, and photos get cheap."""

MAX_SCANS = 100
"""The largest number of scans of a JPEG. Progressive ones have about ten; each is a pass over the whole image."""

BeforeDecoding: TypeAlias = Callable[[int], None]
"""Told the bytes of memory that decoding will take, before each decoding; an `ImageError` of its prevents that."""

CHANNELS = (3, 4)
"""RGB and RGBA."""

DEEP_MODES = ("I;16", "I;16B", "I")
"""Pillow's modes of 16 and 32 bits."""

MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", *DEEP_MODES)
"""Pillow's modes of images whose values have a known white; floats have none."""


def read_grey(
    source: ImageSource, max_pixels: int = MAX_IMAGE_PIXELS, before_decoding: BeforeDecoding = lambda _: None
) -> Grey:
    """Reads an image as grey: upright (EXIF), transparency on paper, colour as ITU-R 601 luma.

    Args:
        source: a path, the bytes of an image file, a file opened in binary mode, a PIL image, or an array (H, W),
            (H, W, 3) or (H, W, 4) of whole numbers or truth values; see `ranges` for those that aren't uint8. A PIL
            image is left as it is. An open file is read from its beginning, if it can be.
        max_pixels: the largest width × height; checked against what the file declares before anything is decoded.
        before_decoding: told what decoding a file will take, once or, where its metadata is odd, several times.

    Returns:
        uint8 (H, W), 0 = black and 255 = white; its longer side is below 2 × `WORKING_SIDE`.

    Raises:
        ImageError: it is missing, no image, truncated, larger than `max_pixels`, or of an unsupported kind.
    """
    if isinstance(source, np.ndarray):
        return _read_array(np.asarray(source), max_pixels)
    if isinstance(source, Image.Image):
        with no_warnings():
            return _flatten(source, "the image", max_pixels)
    if isinstance(source, (*BUFFERS, str, os.PathLike)) or hasattr(source, "read"):
        data, name = read_file(source)
        with no_warnings():
            return _decode(data, name, max_pixels, before_decoding)
    raise ImageError(
        "IMAGE_UNSUPPORTED",
        "an image is a path, bytes, an open binary file, a PIL image or a uint8 array (numpy.asarray makes one), "
        f"not {type(source).__name__}",
    )


def read_file(source: str | os.PathLike[str] | Buffer | IO[bytes]) -> tuple[bytes, str]:
    """The bytes of an image file, and its name for errors.

    Raises:
        ImageError: the file is missing, can't be read, or was opened as text.
    """
    if isinstance(source, BUFFERS):
        return bytes(source), "the file"
    if isinstance(source, (str, os.PathLike)):
        return read_image_file(source), str(source)
    name = str(getattr(source, "name", "the file"))
    try:
        if hasattr(source, "seekable") and source.seekable():
            source.seek(0)  # where it was written a moment ago, it stands at its end
        data: object = source.read()
    except UnicodeDecodeError as error:
        raise _not_bytes(name, "text") from error
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise ImageError("IMAGE_NOT_FOUND", f"can't read {name}: {error}") from error
    if not isinstance(data, bytes):
        raise _not_bytes(name, type(data).__name__)
    return data, name


def _not_bytes(name: str, found: str) -> ImageError:
    advice = 'open it in binary mode, as by open(path, "rb")'
    return ImageError("IMAGE_UNSUPPORTED", f"{name} gives {found} when read, not bytes: {advice}")


def _decode(data: bytes, name: str, max_pixels: int, before_decoding: BeforeDecoding) -> Grey:
    """The grey of a file. Where it can't be read, it is tried again without its metadata."""
    if not data:
        raise ImageError("IMAGE_UNREADABLE", f"{name} is empty: it has no bytes")
    try:
        return _decode_as_it_is(data, name, max_pixels, before_decoding)
    except ImageError as error:
        if error.reason != "IMAGE_UNREADABLE":
            raise
        for bare in without_metadata(data):
            with suppress(ImageError):
                return _decode_as_it_is(bare, name, max_pixels, before_decoding)
        if other := name_format(data):
            raise ImageError(
                "IMAGE_UNSUPPORTED", f"{name} is {other}, which isn't read: {advice_for(other)}"
            ) from error
        raise


def _decode_as_it_is(data: bytes, name: str, max_pixels: int, before_decoding: BeforeDecoding) -> Grey:
    check_parts(data, name)
    with _decoding(name):
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    with image:
        _check_size(image.size, name, max_pixels)
        scans, declared = 1, image.width * image.height
        if image.format in JPEGS:
            scans = _check_scans(count_scans(data), name)
        if image.format == "JPEG":
            image.draft(None, (WORKING_SIDE, WORKING_SIDE))  # at 1/2, 1/4 or 1/8 scale: a photo costs a tenth
        before_decoding(decoding_bytes(image, scans, declared))
        return _flatten(image, name, max_pixels, data)


def _check_scans(scans: int, name: str) -> int:
    if scans > MAX_SCANS:
        message = f"{name} has {scans:,} scans, and a JPEG has at most {MAX_SCANS} here: save it anew"
        raise ImageError("IMAGE_UNSUPPORTED", message)
    return scans


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


def _read_array(array: npt.NDArray[Any], max_pixels: int) -> Grey:
    _check_shape(array)
    _check_size((array.shape[1], array.shape[0]), "the array", max_pixels)
    values = array if array.dtype == np.uint8 else to_eight_bits(array, "the array")
    is_small = values.ndim == 2 and max(values.shape) < 2 * WORKING_SIDE and values.size <= max_pixels
    if is_small and not is_narrow(values):
        grey = values.view()  # nothing to convert: data sets have a hundred thousand of these
        grey.flags.writeable = False
        return grey
    return _flatten(Image.fromarray(values), "the array", max_pixels)


def _check_shape(array: npt.NDArray[Any]) -> None:
    shape = array.shape
    is_flat = max(shape, default=0) > 1 and array.size == max(shape) and not (array.ndim == 3 and shape[2] in CHANNELS)
    is_image = array.ndim == 2 or (array.ndim == 3 and shape[2] in CHANNELS)
    if array.size > 0 and is_image and not is_flat:
        return
    side = math.isqrt(array.size)
    if is_flat:
        example = f", for example array.reshape({side}, {side})" if side * side == array.size else ""
        advice = f": it is flat; give it its height and width{example}"
    elif array.size > 0 and sum(extent > 1 for extent in shape) == 2:
        advice = ": remove its axes of length 1, by array.squeeze()"
    elif array.ndim == 3 and shape[0] in CHANNELS:
        advice = ": move its channels to the end, by array.transpose(1, 2, 0)"
    else:
        advice = ""
    raise ImageError("IMAGE_UNSUPPORTED", f"an image array is (H, W), (H, W, 3) or (H, W, 4), not {shape}{advice}")


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        message = f"{name} is {width} × {height}; at most {max_pixels:,} pixels are decoded: scale it down"
        raise ImageError("IMAGE_TOO_LARGE", message)
    if width * height == 0:
        raise ImageError("IMAGE_UNSUPPORTED", f"{name} is {width} × {height}: it has no pixels")


def _flatten(image: Image.Image, name: str, max_pixels: int, data: bytes | None = None) -> Grey:
    """An opened image as grey; nothing of it is decoded before its declared size is known to be fine.

    Args:
        image: opened, or decoded.
        name: for errors.
        max_pixels: the largest width × height.
        data: the bytes of its file; None: it was opened elsewhere.
    """
    _check_size(image.size, name, max_pixels)
    if image.mode not in MODES:
        raise ImageError("IMAGE_UNSUPPORTED", f"{name} is of mode {image.mode}: scale it to 0 to 255, in mode L")
    raw_mode = cut_off(image)
    with _decoding(name):
        image.load()
    turn, is_jpeg = find_turn(image), image.format == "JPEG"
    if raw_mode and uses_few_bits(image):
        image = _with_all_bits(image, name, data, raw_mode)
    if image.mode in DEEP_MODES:  # Pillow's own conversion would cut greys off at 255
        image = Image.fromarray(to_eight_bits(np.asarray(image), name))
    large = max(image.size) >= 2 * WORKING_SIDE
    return _grey_of_large(image, turn, is_jpeg) if large else _grey_of_small(image, turn, is_jpeg)


def _with_all_bits(image: Image.Image, name: str, data: bytes | None, raw_mode: str) -> Image.Image:
    """An image of 16 bits a channel that uses few of them; as it is where only the upper 8 can be had."""
    if data is None or image.format != "PNG":
        check_upper_bits(image, name)
        return image
    with _decoding(name):
        return read_all_bits(image, data, raw_mode)


def _grey_of_small(image: Image.Image, turn: Image.Transpose | None, is_jpeg: bool) -> Grey:
    """The grey of an image that is of working size as it is."""
    plain = _plain(image if turn is None else image.transpose(turn))
    grey = _grey(plain)
    if is_narrow(grey) and not is_jpeg:  # no mask or data set is a JPEG, but many a dark photo is
        return _grey(spread(plain))
    return grey


def _plain(image: Image.Image) -> Image.Image:
    """The image with 8 bits a channel and no palette: L, RGB, or RGBA where alpha differs."""
    if image.has_transparency_data:
        full = spread(image.convert("RGBA"))
        return full if is_transparent(full) else full.convert("RGB")
    return image if image.mode == "L" else image.convert("RGB")


def _grey_of_large(image: Image.Image, turn: Image.Transpose | None, is_jpeg: bool) -> Grey:
    """The grey of a large image, averaged down to working size: the same steps, without copies of the whole."""
    factor = max(image.size) // WORKING_SIDE
    strips = _plain_strips(Strips(image, turn))
    grey = _grey(strips.reduced(factor))
    if is_narrow(grey) and not is_jpeg:
        return _grey(spread_strips(strips).reduced(factor))
    return grey


def _plain_strips(strips: Strips) -> Strips:
    """`_plain` of a large image."""
    if strips.image.has_transparency_data:
        full = spread_strips(strips.then(lambda strip: strip.convert("RGBA")))
        return full if any_transparent(full.cut()) else full.then(lambda strip: strip.convert("RGB"))
    return strips if strips.image.mode in ("L", "RGB") else strips.then(lambda strip: strip.convert("RGB"))


def _grey(plain: Image.Image) -> Grey:
    """The grey of an image of working size."""
    small = lay_on_paper(plain) if plain.mode == "RGBA" else plain
    return np.asarray(small if small.mode == "L" else small.convert("L"))
