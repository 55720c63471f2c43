"""Files of a great many small parts: they are refused before Pillow takes memory and time for each of them."""

import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from model.drawings import encoded
from PIL import Image

from vitrine.model import ImageError, read_grey
from vitrine.model.preparation import image as images
from vitrine.model.preparation import metadata
from vitrine.model.preparation.image import MAX_SCANS
from vitrine.model.preparation.metadata import END_OF_IMAGE, START_OF_SCAN, count_scans
from vitrine.model.preparation.parts import MAX_EXIF_SEGMENTS, MAX_PARTS

PLAIN = Image.linear_gradient("L").resize((64, 64))
MANY = MAX_PARTS + 1


def png(extra: bytes) -> bytes:
    file = encoded(PLAIN)
    return file[:33] + extra + file[33:]


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def jpeg(extra: bytes) -> bytes:
    file = encoded(PLAIN, "JPEG")
    return file[:2] + extra + file[2:]


def gif(extra: bytes) -> bytes:
    file = encoded(PLAIN, "GIF")
    header = 13 + (3 << (file[10] & 7) + 1)
    return file[:header] + extra + file[header:]


def tiff(tags: Mapping[int, tuple[int, int, int | bytes]], *, order: str = "<", big: bool = False) -> bytes:
    """A TIFF of 8-bit greys, all white, of one strip unless tags (type, count, value) say otherwise."""
    width, entry, place = (8, "HHQQ", 16) if big else (4, "HHII", 8)
    long, number = (16, "Q") if big else (4, "I")
    plain = {256: (long, 1, 8), 257: (long, 1, 8), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 277: (3, 1, 1)}
    every = sorted((plain | {273: (long, 1, 4), 278: (long, 1, 8), 279: (long, 1, 64)} | dict(tags)).items())
    behind = (
        place + struct.calcsize(order + ("Q" if big else "H")) + len(every) * struct.calcsize(order + entry) + width
    )
    directory, values = b"", b""
    for tag, (kind, count, value) in every:
        if isinstance(value, int):
            short = struct.pack(order + ("H" if kind == 3 else number), value).ljust(width, b"\0")
            directory += struct.pack(order + entry[:-1], tag, kind, count) + short
        else:
            directory += struct.pack(order + entry, tag, kind, count, behind + len(values))
            values += value
    mark = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    start = struct.pack(order + "HHQ", 8, 0, place) if big else struct.pack(order + "I", place)
    length = struct.pack(order + ("Q" if big else "H"), len(every))
    return mark + start + length + directory + bytes(width) + values + b"\xff" * 64


STRIPS = {273: (4, MANY, struct.pack("<I", 8) * MANY), 279: (4, MANY, struct.pack("<I", 8) * MANY)}

MANY_PARTS: dict[str, tuple[bytes, str]] = {
    "texts": (png(chunk(b"tEXt", b"a\0b") * MANY), "65,536 chunks, as no PNG needs"),
    "empty chunks of pixels": (png(chunk(b"IDAT") * MANY), "65,536 chunks, as no PNG needs"),
    "restart intervals": (jpeg(b"\xff\xdd\0\4\0\0" * MANY), "65,536 segments, as no JPEG needs"),
    "bare markers": (jpeg(b"\xff\xd0" * MANY), "65,536 segments, as no JPEG needs"),
    "filling": (jpeg(b"\xff" * MANY), "65,536 segments, as no JPEG needs"),
    "bytes between": (jpeg(bytes(MANY)), "65,536 segments, as no JPEG needs"),
    "EXIF data": (
        jpeg((b"\xff\xe1\0\x40Exif\0\0" + bytes(0x40 - 8)) * (MAX_EXIF_SEGMENTS + 1)),
        f"more than {MAX_EXIF_SEGMENTS} EXIF segments",
    ),
    "comments": (gif(b"\x21\xfe\1a\0" * MANY), "65,536 blocks before its picture, as no GIF needs"),
    "blocks of one comment": (gif(b"\x21\xfe" + b"\1a" * MANY + b"\0"), "65,536 blocks before its picture"),
    "strips": (tiff({257: (4, 1, MANY), 278: (4, 1, 1), **STRIPS}), "65,536 strips or tiles, as no TIFF needs"),
    "tiles": (tiff({322: (4, 1, 16), 323: (4, 1, 16), 324: STRIPS[273], 325: STRIPS[279]}), "strips or tiles"),
    "strips that its geometry declares": (tiff({257: (4, 1, MANY), 278: (4, 1, 1)}), "strips or tiles"),
    "strips of a big TIFF": (tiff({273: (4, MANY, STRIPS[273][2])}, big=True), "strips or tiles"),
    "numbers in a tag": (tiff({282: (5, MANY, bytes(8 * MANY))}), "65,536 numbers in its tag 282"),
}


@pytest.mark.parametrize(("file", "told"), MANY_PARTS.values(), ids=MANY_PARTS.keys())
def test_a_file_of_too_many_parts_is_refused_before_it_is_opened(
    file: bytes, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("it was opened")

    monkeypatch.setattr(images.Image, "open", never)
    with pytest.raises(ImageError, match=told) as caught:
        read_grey(file)
    assert caught.value.reason == "IMAGE_UNSUPPORTED"


MOST = MAX_PARTS - 100
SOUND: dict[str, bytes] = {
    "PNG": png(chunk(b"tEXt", b"a\0b") * MOST),
    "JPEG": jpeg(b"\xff\xdd\0\4\0\0" * MOST),
    "GIF": gif(b"\x21\xfe\1a\0" * (MOST // 2)),
}


@pytest.mark.parametrize("kind", SOUND)
def test_a_file_of_as_many_parts_as_it_may_have_is_read(kind: str) -> None:
    np.testing.assert_array_equal(read_grey(SOUND[kind]), read_grey(encoded(PLAIN, kind)))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    "tags",
    [
        {},
        {257: (4, 1, 60_000), 278: (4, 1, 60_000), 279: (4, 1, 480_000)},
        {34675: (7, 2 * MANY, bytes(2 * MANY)), 700: (1, 2 * MANY, bytes(2 * MANY))},
        {50000: (3, MANY, bytes(2 * MANY))},
    ],
    ids=["plain", "many rows", "a long profile", "another program's numbers"],
)
def test_an_honest_tiff_is_read(order: str, tags: dict[int, tuple[int, int, Any]]) -> None:
    rows = tags.get(257, (0, 0, 8))[2]
    assert read_grey(tiff(tags, order=order) + b"\xff" * 8 * rows).max() == 255


def test_a_big_tiff_is_read() -> None:
    assert read_grey(tiff({273: (16, 1, 4)}, big=True)).max() == 255


def test_scans_are_counted_in_a_jpeg_that_more_pictures_follow() -> None:
    file = io.BytesIO()
    PLAIN.save(file, "MPO", save_all=True, append_images=[PLAIN], progressive=True)
    data = file.getvalue()
    assert Image.open(io.BytesIO(data)).format == "MPO"
    begin, end = data.index(START_OF_SCAN), data.index(END_OF_IMAGE)
    last = data[data.rindex(START_OF_SCAN, begin, end) : end]
    with pytest.raises(ImageError, match="scans"):
        read_grey(data[:end] + (MAX_SCANS + 1 - count_scans(data)) * last + data[end:])


def test_an_orientation_of_millions_of_numbers_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    count = metadata.MAX_EXIF_BYTES
    exif = b"II*\0" + struct.pack("<IHHHII", 8, 1, 0x0112, 3, count, 26) + bytes(4) + b"\6\0" * count
    monkeypatch.setattr(Image.Image, "getexif", lambda _: pytest.fail("it was unpacked"))
    assert read_grey(png(chunk(b"eXIf", exif))).shape == (64, 64)
