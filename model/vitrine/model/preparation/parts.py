"""Counts the parts of an image file before a decoder sees it: tags and strips, segments, chunks, blocks.

Decoders take memory and time for each part, however small it is. It reads lengths, and nothing of what is in a part.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from vitrine.model.errors import ImageError
from vitrine.model.preparation.metadata import JPEG, PNG, START_OF_SCAN

MAX_PARTS = 1 << 16
"""The largest number of parts of a kind. An image of 50 megapixels has 26,000 chunks of 8 KiB at most."""

MAX_EXIF_SEGMENTS = 16
"""The largest number of EXIF segments of a JPEG, which are joined. A camera writes one."""

TIFF = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+")
"""The beginnings of TIFF files, of which Pillow reads two with swapped bytes; `+` means BigTIFF."""

GIF = (b"GIF87a", b"GIF89a")

WIDTH, HEIGHT, STRIP_ROWS, PLANES, LAYOUT, TILE_WIDTH, TILE_HEIGHT = 256, 257, 278, 277, 284, 322, 323
"""The tags of a TIFF's geometry: with a `LAYOUT` of 2, each colour has strips or tiles of its own."""

TABLES = (273, 279, 324, 325)
"""The tags with the places and the sizes of strips and tiles."""

NUMBERS: Mapping[int, str] = {3: "H", 4: "I", 5: "", 8: "h", 9: "i", 10: "", 11: "f", 12: "d", 13: "I", 16: "Q"}
"""The types of tags that are numbers, which Pillow unpacks one by one, and their codes; fractions have none."""

FIRST_PRIVATE_TAG = 1 << 15
"""Tags from here on belong to other programs; no decoder unpacks them."""

EXIF_SEGMENT, EXIF = 0xE1, b"Exif\0\0"
BARE_MARKERS = (0x00, 0x01, *range(0xD0, 0xD9))
"""Second bytes of markers in a JPEG that have no length."""

GIF_IMAGE, GIF_EXTENSION = 0x2C, 0x21

Part: TypeAlias = tuple[int, str]
"""The number of parts of a kind so far, and that kind's name."""


def check_parts(data: bytes, name: str) -> None:
    """Raises an `ImageError` for a file that has more parts of a kind than any image needs."""
    for kind, begins, count in COUNTED:
        if data.startswith(begins):
            for number, part in count(data):
                most = MAX_EXIF_SEGMENTS if part == "EXIF segments" else MAX_PARTS
                if number > most:
                    message = f"{name} has more than {most:,} {part}, as no {kind} needs: save it anew"
                    raise ImageError("IMAGE_UNSUPPORTED", message)
            return


def _png_chunks(data: bytes) -> Iterator[Part]:
    begin, count = len(PNG), 0
    while begin + 8 <= len(data) and not data.startswith(b"IEND", begin + 4):
        count += 1
        if count > MAX_PARTS:
            break
        begin += 12 + int.from_bytes(data[begin : begin + 4], "big")
    yield count, "chunks"


def _jpeg_segments(data: bytes) -> Iterator[Part]:
    """Segments up to the first scan. Bytes between them count as well: Pillow reads them one by one."""
    begin, count, exif = len(JPEG), 0, 0
    while begin + 4 <= len(data) and count <= MAX_PARTS:
        count += 1
        marker = data[begin + 1]
        if data[begin] != 0xFF or marker == 0xFF:
            begin += 1
        elif marker in BARE_MARKERS:
            begin += 2
        elif marker == START_OF_SCAN[1]:
            break
        else:
            exif += marker == EXIF_SEGMENT and data.startswith(EXIF, begin + 4)
            begin += 2 + int.from_bytes(data[begin + 2 : begin + 4], "big")
    yield count, "segments"
    yield exif, "EXIF segments"


def _gif_blocks(data: bytes) -> Iterator[Part]:
    """Extensions and their blocks up to the first picture. Bytes between them count as well."""
    if len(data) < 13:
        return
    begin = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    count = 0
    while begin < len(data) and data[begin] != GIF_IMAGE and count <= MAX_PARTS:
        count += 1
        if data[begin] != GIF_EXTENSION:
            begin += 1
            continue
        begin += 2
        while begin < len(data) and (length := data[begin]) and count <= MAX_PARTS:
            count += 1
            begin += 1 + length
        begin += 1
    yield count, "blocks before its picture"


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of a TIFF's directory: where it stands, the number of its tags, and each tag."""

    place: str
    begin: int
    count: str
    tag: str


CLASSIC, BIG = Layout("I", 4, "H", "HHI4s"), Layout("Q", 8, "Q", "HHQ8s")


def _tiff_tables(data: bytes) -> Iterator[Part]:
    order = "<" if data.startswith(b"II") else ">"
    layouts = [BIG] if data[2] == ord("+") else [CLASSIC]
    if data.startswith(b"MM\0+"):
        layouts.append(BIG)  # Pillow 13 takes it for a classic one
    for layout in layouts:
        yield from _tables_in_directory(data, order, layout)


def _tables_in_directory(data: bytes, order: str, layout: Layout) -> Iterator[Part]:
    """The tables of the first directory, which is the one that is read."""
    try:
        (place,) = struct.unpack_from(order + layout.place, data, layout.begin)
        (tags,) = struct.unpack_from(order + layout.count, data, place)
    except (struct.error, OverflowError):
        return  # Pillow says that it is damaged
    yield tags, "tags"
    begin, entry = place + struct.calcsize(order + layout.count), struct.Struct(order + layout.tag)
    geometry: dict[int, int] = {}
    for at in range(begin, min(begin + tags * entry.size, len(data) - entry.size + 1), entry.size):
        tag, kind, count, value = entry.unpack_from(data, at)
        if tag in TABLES:
            yield count, "strips or tiles"
        elif tag < FIRST_PRIVATE_TAG and kind in NUMBERS:
            yield count, f"numbers in its tag {tag}"
            if count == 1 and (code := NUMBERS[kind]) in tuple("HIQ") and struct.calcsize(order + code) <= len(value):
                geometry.setdefault(tag, struct.unpack_from(order + code, value)[0])
    yield _declared_pieces(geometry), "strips or tiles"


def _declared_pieces(geometry: Mapping[int, int]) -> int:
    """The strips or tiles that an image of this geometry has: a decoder makes tables of them, whatever the file has."""
    width, height = geometry.get(WIDTH, 0), geometry.get(HEIGHT, 0)
    planes = geometry.get(PLANES, 1) if geometry.get(LAYOUT) == 2 else 1
    if TILE_WIDTH in geometry and TILE_HEIGHT in geometry:
        across = -(-width // max(geometry[TILE_WIDTH], 1))
        return across * -(-height // max(geometry[TILE_HEIGHT], 1)) * planes
    return -(-height // max(geometry.get(STRIP_ROWS, height), 1)) * planes


COUNTED = (
    ("PNG", PNG, _png_chunks),
    ("JPEG", JPEG, _jpeg_segments),
    ("TIFF", TIFF, _tiff_tables),
    ("GIF", GIF, _gif_blocks),
)
"""The formats whose parts are counted: a kind, its beginnings, and the count. WebP and BMP have few that are read."""
