"""Sound images with odd metadata: they are read, turned upright where that can be known, and nothing is printed."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from model.drawings import encoded
from PIL import Image

from vitrine.model import ImageError, read_grey

SIDEWAYS = Image.linear_gradient("L").resize((96, 64))  # darker at the top
UPRIGHT = np.asarray(SIDEWAYS.transpose(Image.Transpose.ROTATE_270))

ORIENTATION = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
"""The tag of an image that must be turned by 90° clockwise."""


def tiff(*tags: bytes, data: bytes = b"") -> bytes:
    """EXIF data, little-endian; `data` lies behind the tags."""
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(tags) + bytes(4) + data


def far(tag: int, kind: int, count: int, behind: int = 2) -> bytes:
    """A tag whose value lies behind `behind` tags."""
    return struct.pack("<HHII", tag, kind, count, 14 + 12 * behind)


ODD_EXIF: dict[str, bytes] = {
    "a rational of -1/0": tiff(ORIENTATION, far(0x9204, 10, 1), data=struct.pack("<ii", -1, 0)),
    "a rational of 1/0": tiff(ORIENTATION, far(0x011A, 5, 1), data=struct.pack("<II", 1, 0)),
    "a text as a rational": tiff(ORIENTATION, far(0x0131, 5, 1), data=struct.pack("<II", 7, 2)),
    "a text as whole numbers": tiff(ORIENTATION, far(0x010F, 4, 3), data=struct.pack("<III", 7, 2, 9)),
    "too many values": tiff(ORIENTATION, far(0x011A, 5, 4), data=struct.pack("<8I", *range(8))),
    "a tag of an unknown type": tiff(ORIENTATION, struct.pack("<HHII", 0x0131, 99, 1, 0)),
    "a tag beyond the end": tiff(ORIENTATION, far(0x0131, 2, 60_000)),
    "fewer tags than it says": b"II*\0" + struct.pack("<IH", 8, 40) + ORIENTATION,
}


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg(*segments: bytes) -> bytes:
    """The gradient as JPEG, with segments right at its beginning, where cameras have EXIF data."""
    plain = encoded(SIDEWAYS, "JPEG", quality=98)
    return plain[:2] + b"".join(segments) + plain[2:]


def chunk(kind: bytes, body: bytes, check: int | None = None) -> bytes:
    check = zlib.crc32(kind + body) if check is None else check
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)


def png(*chunks: bytes, at_the_end: bool = False) -> bytes:
    """The gradient as PNG, with chunks before or behind the image's data."""
    plain = encoded(SIDEWAYS)
    place = len(plain) - 12 if at_the_end else 33
    return plain[:place] + b"".join(chunks) + plain[place:]


def webp(exif: bytes) -> bytes:
    return encoded(SIDEWAYS, "WEBP", lossless=True, exif=exif)


def assert_reads(file: bytes, expected: np.ndarray, capfd: pytest.CaptureFixture[str]) -> None:
    """The file is read as that image, within JPEG's and WebP's error, and nothing is printed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        grey = read_grey(file)
    assert grey.shape == expected.shape
    assert np.abs(grey.astype(int) - expected).max() <= 3
    assert caught == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("exif", ODD_EXIF.values(), ids=ODD_EXIF.keys())
@pytest.mark.parametrize(
    "make",
    [lambda exif: jpeg(segment(0xE1, b"Exif\0\0" + exif)), lambda exif: png(chunk(b"eXIf", exif)), webp],
    ids=["jpeg", "png", "webp"],
)
def test_an_orientation_beside_odd_tags_is_obeyed(
    make: Callable[[bytes], bytes], exif: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    assert_reads(make(exif), UPRIGHT, capfd)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation(orientation: int) -> None:
    corner = np.zeros((6, 8), np.uint8)
    corner[:2, :2] = 200
    exif = tiff(struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0))
    upright = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    grey = read_grey(encoded(Image.fromarray(corner), exif=exif))
    assert grey.shape == ((6, 8) if orientation < 5 else (8, 6))
    assert grey[upright[orientation]] == 200


NO_TIFF = [b"", b"II", b"no TIFF at all", b"MM\0*\0\0\xff\xff", b"Exif\0\0Exif\0\0II*\0", bytes(100)]


@pytest.mark.parametrize("exif", NO_TIFF)
def test_exif_data_that_is_none_changes_nothing(exif: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    expected = np.asarray(SIDEWAYS)
    assert_reads(png(chunk(b"eXIf", exif)), expected, capfd)
    assert_reads(jpeg(segment(0xE1, b"Exif\0\0" + exif)), expected, capfd)
    if exif:
        assert_reads(webp(exif), expected, capfd)


@pytest.mark.parametrize("value", [0, 9, 6000, -1])
def test_an_orientation_that_there_isnt_changes_nothing(value: int, capfd: pytest.CaptureFixture[str]) -> None:
    exif = tiff(struct.pack("<HHIhH", 0x0112, 8, 1, value, 0))
    assert_reads(png(chunk(b"eXIf", exif)), np.asarray(SIDEWAYS), capfd)


LONG = bytes(3 << 20)  # above Pillow's limit of 1 MiB for one text

ODD_CHUNKS: dict[str, bytes] = {
    "a long compressed text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(LONG)),
    "a long international text": chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(LONG)),
    "a long plain text": chunk(b"tEXt", b"Comment\0" + LONG),
    "texts of more than 64 MiB": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 20))) * 70,
    "a long colour profile": chunk(b"iCCP", b"icc\0\0" + zlib.compress(LONG)),
    "a colour profile that is none": chunk(b"iCCP", b"icc"),
    "a text without a keyword": chunk(b"tEXt", b""),
    "a text that isn't compressed": chunk(b"zTXt", b"Comment\0\0no zlib"),
    "a text of an unknown compression": chunk(b"zTXt", b"Comment\0\7no zlib"),
    "a damaged text": chunk(b"tEXt", b"Comment\0text", check=1),
    "a short resolution": chunk(b"pHYs", b"\0\0"),
    "a short gamma": chunk(b"gAMA", b"\0"),
    "short chromaticities": chunk(b"cHRM", b"\0\0\0"),
    "an empty intent": chunk(b"sRGB", b""),
    "an animation that is none": chunk(b"acTL", b"\0"),
    "a chunk that nobody knows": chunk(b"vtRn", b"?"),
}


@pytest.mark.parametrize("odd", ODD_CHUNKS.values(), ids=ODD_CHUNKS.keys())
def test_a_png_is_read_whatever_its_other_chunks_are(odd: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    turned = chunk(b"eXIf", tiff(ORIENTATION))
    assert_reads(png(odd), np.asarray(SIDEWAYS), capfd)
    assert_reads(png(odd, turned), UPRIGHT, capfd)
    assert_reads(png(turned, odd), UPRIGHT, capfd)
    if b"TXt" in odd[:8] or b"tEXt" in odd[:8]:
        assert_reads(png(odd, at_the_end=True), np.asarray(SIDEWAYS), capfd)


def test_transparency_is_kept_where_other_chunks_are_left_out() -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([10, 10, 10, 60, 60, 60])
    plain = encoded(image, transparency=0)
    odd = plain[:33] + ODD_CHUNKS["a long colour profile"] + plain[33:]
    np.testing.assert_array_equal(read_grey(odd), read_grey(plain))


ODD_SEGMENTS: dict[str, bytes] = {
    "a colour profile that is none": segment(0xE2, b"ICC_PROFILE\0\1\1no profile"),
    "a part of a colour profile": segment(0xE2, b"ICC_PROFILE\0\7\1no profile"),
    "several pictures that aren't there": segment(0xE2, b"MPF\0II*\0\x08\0\0\0\1\0" + bytes(12)),
    "an index of pictures that is none": segment(0xE2, b"MPF\0nothing"),
    "Photoshop's resources, cut off": segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\xff\0"),
    "a short JFIF": segment(0xE0, b"JFIF\0\1"),
    "a comment that is no text": segment(0xFE, bytes(range(256))),
    "an empty segment": segment(0xE5, b""),
    "a long thumbnail": segment(0xE7, bytes(60_000)) * 40,
}


@pytest.mark.parametrize("odd", ODD_SEGMENTS.values(), ids=ODD_SEGMENTS.keys())
def test_a_jpeg_is_read_whatever_its_other_segments_are(odd: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    turned = segment(0xE1, b"Exif\0\0" + tiff(ORIENTATION))
    assert_reads(jpeg(odd), np.asarray(SIDEWAYS), capfd)
    assert_reads(jpeg(turned, odd), UPRIGHT, capfd)


def test_a_tiff_with_odd_tags_is_read(capfd: pytest.CaptureFixture[str]) -> None:
    file = io.BytesIO()
    SIDEWAYS.save(file, "TIFF", tiffinfo={0x0112: 6, 50_000: "a private text", 0x0131: "software"})
    assert_reads(file.getvalue(), UPRIGHT, capfd)


@pytest.mark.parametrize("file", [png(*ODD_CHUNKS.values())[:-200], jpeg(*ODD_SEGMENTS.values())[:700]])
def test_a_damaged_image_is_refused_with_odd_metadata_too(file: bytes) -> None:
    with pytest.raises(ImageError, match="it is no image, truncated or damaged"):
        read_grey(file)


def test_the_warnings_of_others_are_still_seen() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        read_grey(png(chunk(b"eXIf", ODD_EXIF["too many values"])))
        assert list(warnings.filters) == before
        warnings.warn("something else", stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["something else"]
