"""The metadata of an image file: how to turn it upright, and how to read it when its metadata is odd.

Pillow refuses some files whose image is sound, because of a text, a profile or a tag. It knows PNG's chunks and JPEG's
segments, and nothing of what is in the image.
"""

import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

from PIL import ExifTags, Image

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The turn that puts an image upright, by the orientation in its EXIF data."""

COPIED_AS_TEXT = "an image that was copied as text"

OTHER_FORMATS = (
    (re.compile(rb".{4}ftyp(?:hei|hev|mif1|msf1)", re.DOTALL), "HEIC"),
    (re.compile(rb".{4}ftypavi[fs]", re.DOTALL), "AVIF"),
    (re.compile(rb"\xff\x0a|.{4}JXL \r\n", re.DOTALL), "JPEG XL"),
    (re.compile(rb".{4}jP  \r\n", re.DOTALL), "JPEG 2000"),
    (re.compile(rb".{4}ftyp", re.DOTALL), "a video"),
    (re.compile(rb"%PDF-"), "PDF"),
    (re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?(?:<!DOCTYPE svg[^>]*>\s*)?<svg", re.DOTALL), "SVG"),
    (
        re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?<(?:!DOCTYPE html|html)", re.DOTALL | re.IGNORECASE),
        "HTML",
    ),
    (re.compile(rb"P[1-7]\s"), "PPM or one of its kin (PBM, PGM, PNM, PAM)"),
    (re.compile(rb"\0\0[\x01\x02]\0"), "ICO"),
    (re.compile(rb"\n[\0\x02-\x05]\x01[\x01\x02\x04\x08]"), "PCX"),
    (re.compile(rb"8BPS"), "PSD"),
    (re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"), "EPS or PostScript"),
    (re.compile(rb"PK\x03\x04|PK\x05\x06"), "a ZIP archive"),
    (re.compile(rb"\x1f\x8b"), "a gzip archive"),
    (re.compile(rb"\x93NUMPY"), "an array of NumPy"),
    (re.compile(rb"version https://git-lfs"), "a pointer of Git LFS"),
    (re.compile(rb"\s*(?:data:image/|iVBORw0KGgo|/9j/|R0lGOD|UklGR)"), "base64 text"),
    (re.compile(rb"\s*[{\[]\s*[\"{\]}]"), "JSON"),
    (re.compile(rb"\s*<\?xml"), "XML"),
    (
        re.compile(rb"\x89PNG(?!\r\n\x1a\n)|(?:\xef\xbf\xbd)+PNG|(?:\xef\xbf\xbd){3}|\xff\xfe[\x89\xff]\0"),
        COPIED_AS_TEXT,
    ),
)
"""The beginnings of files that people take for images and that aren't read."""

TGA_END = b"TRUEVISION-XFILE.\0"
"""The end of a TGA file, which has no beginning of its own."""

SAVE_IT_ANEW = "save it as JPEG or PNG"

OTHER_ADVICE = {
    "HEIC": f"{SAVE_IT_ANEW}. In Python, install pillow-heif, call pillow_heif.register_heif_opener(), and pass "
    "PIL.Image.open(path)",
    "AVIF": f"{SAVE_IT_ANEW}. In Python, pass PIL.Image.open(path), which reads it from Pillow 11.3 on",
    "HTML": "it may be the page of a failed download",
    "a ZIP archive": "take the images out of it",
    "a gzip archive": "take the images out of it",
    "a video": "save one of its pictures as JPEG or PNG",
    "an array of NumPy": "pass the array, which numpy.load reads",
    "a pointer of Git LFS": "fetch the image itself, by git lfs pull",
    "base64 text": "pass base64.b64decode(text), without what is before the comma",
    "JSON": "it may be the error of a failed download",
    "XML": "it may be the error of a failed download",
    COPIED_AS_TEXT: "copy it again as binary data, since its bytes were changed",
}
"""Advice for the formats that need their own."""

BEGINNING = 1024
"""Number of bytes in which a format is looked for."""

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8"

PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
"""Chunks of texts."""

PNG_ORIENTATION = (b"Raw profile type exif", b"XML:com.adobe.xmp")
"""Keywords of texts that may have the orientation."""

JPEG_ORIENTATION = (b"Exif\0", b"http://ns.adobe.com/xap/")
"""Beginnings of segments that may have the orientation."""

START_OF_SCAN, END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"
"""Marks in a JPEG file. The coded pixels between them never have these bytes."""

SEQUENTIAL = (0xC0, 0xC1)
"""Segments that begin an image whose channels each have one scan."""

JPEG_COLOURS = 0xEE
"""Adobe's segment, which says how colours are stored."""

MAX_EXIF_BYTES = 4 << 20
"""The most EXIF data in which the orientation is looked for: Pillow makes objects of every number in a tag."""

IGNORED = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
"""A filter for the warnings of Pillow."""


@contextmanager
def no_warnings() -> Iterator[None]:
    """Hides Pillow's warnings, which are about metadata that nobody here needs.

    Not `warnings.catch_warnings`, which replaces the filters of the whole process: images are read in threads.
    """
    filters = cast(list[tuple[Any, ...]], warnings.filters)
    filters.insert(0, IGNORED)
    try:
        yield
    finally:
        with suppress(ValueError):  # somebody has replaced the filters meanwhile
            cast(list[tuple[Any, ...]], warnings.filters).remove(IGNORED)


def find_turn(image: Image.Image) -> Image.Transpose | None:
    """The turn that puts a decoded image upright, as its file says; None where there is nothing to turn."""
    return TURNS.get(_orientation(image))


def _orientation(image: Image.Image) -> int:
    """The orientation, 1 to 8; 1 where it can't be read: fed with damaged EXIF data, Pillow raises nearly anything."""
    with suppress(Exception):
        if len(image.info.get("exif", b"")) > MAX_EXIF_BYTES:
            return 1
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    return 1


def name_format(data: bytes) -> str | None:
    """The name of a file's format, if it is one that people take for an image and that isn't read."""
    if data.endswith(TGA_END):
        return "TGA"
    beginning = data[:BEGINNING]
    return next((name for pattern, name in OTHER_FORMATS if pattern.match(beginning)), None)


def advice_for(other: str) -> str:
    """What to do with a file of a format that isn't read."""
    return OTHER_ADVICE.get(other, SAVE_IT_ANEW)


def without_metadata(data: bytes) -> Iterator[bytes]:
    """The same image file without its metadata: first with what may have its orientation, then without that too.

    Nothing for other formats than PNG and JPEG, and where there is no metadata.
    """
    seen = data
    for keeps_orientation in (True, False):
        if data.startswith(PNG):
            bare = PNG + b"".join(_png_chunks(data, keeps_orientation))
        elif data.startswith(JPEG):
            bare = JPEG + b"".join(_jpeg_segments(data, keeps_orientation))
        else:
            return
        if bare != seen:
            yield bare
        seen = bare


def count_scans(data: bytes) -> int:
    """The scans of a JPEG file, of which a progressive one has several; its thumbnail's don't count."""
    begin, channels = len(JPEG), 0
    while begin + 10 <= len(data) and data[begin] == 0xFF and data[begin + 1] != START_OF_SCAN[1]:
        if data[begin + 1] in SEQUENTIAL:
            channels = data[begin + 9]
        begin += 2 + int.from_bytes(data[begin + 2 : begin + 4], "big")
    if channels and data[begin + 4 : begin + 5] == bytes([channels]):
        return 1  # all channels are in the first, and decoders read no other
    end = data.find(END_OF_IMAGE, begin)  # a video may follow
    return data.count(START_OF_SCAN, begin, len(data) if end < 0 else end)


def _png_chunks(data: bytes, keeps_orientation: bool) -> Iterator[bytes]:
    begin = len(PNG)
    while begin + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, begin)
        chunk = data[begin : begin + 12 + length]
        is_needed = kind[:1].isupper() or kind == b"tRNS"  # a capital: critical
        if is_needed or (keeps_orientation and _has_orientation(kind, chunk)):
            yield chunk
        begin += 12 + length
    yield data[begin:]


def _has_orientation(kind: bytes, chunk: bytes) -> bool:
    """Tells whether an undamaged chunk may have the orientation."""
    is_sound = zlib.crc32(chunk[4:-4]).to_bytes(4, "big") == chunk[-4:]
    is_text = kind in PNG_TEXTS and chunk[8:].startswith(PNG_ORIENTATION)
    return is_sound and (kind == b"eXIf" or is_text)


def _jpeg_segments(data: bytes, keeps_orientation: bool) -> Iterator[bytes]:
    begin = len(JPEG)
    while begin + 4 <= len(data) and data[begin] == 0xFF and data[begin + 1] != 0xDA:  # up to the start of the scan
        marker, length = struct.unpack_from(">xBH", data, begin)
        segment = data[begin : begin + 2 + length]
        is_metadata = (0xE0 <= marker <= 0xEF and marker != JPEG_COLOURS) or marker == 0xFE
        if not is_metadata or (keeps_orientation and marker == 0xE1 and segment[4:].startswith(JPEG_ORIENTATION)):
            yield segment
        begin += 2 + length
    yield data[begin:]
