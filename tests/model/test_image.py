"""Reading images: every kind that a user has, and every kind that can't be read."""

import gzip
import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from vitrine.model import ImageError, read_grey
from vitrine.model.preparation.files import MAX_FILE_BYTES
from vitrine.model.preparation.image import Grey

RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5  # (6, 8): no two corners alike


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def matrix(values: Grey) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy advises against this class
        return np.matrix(values)


def closed_file() -> io.BytesIO:
    file = io.BytesIO(b"bytes")
    file.close()
    return file


def heic() -> bytes:
    """The beginning of an iPhone's photo."""
    return b"\0\0\0\x24ftypheic\0\0\0\0mif1MiHBMiHEMiPrmiafheictmap" + bytes(90)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_lossless_format_gives_the_same_grey(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(read_grey(encoded(Image.fromarray(RAMP), kind, **options)), RAMP)


def test_a_path_bytes_an_image_and_an_array_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "ramp.png"
    Image.fromarray(RAMP).save(path)
    for source in (path, str(path), path.read_bytes(), Image.fromarray(RAMP), RAMP):
        np.testing.assert_array_equal(read_grey(source), RAMP)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        pytest.param("iVBORw0KGgo" * 500, r"base64\.b64decode\(text\)", id="base64"),
        pytest.param("iVBORw0KGgo" * 25 + "==\n", r"base64\.b64decode\(text\)", id="base64 of a small image"),
        pytest.param("/9j/4AAQSkZJRg" * 25, r"base64\.b64decode\(text\)", id="base64 of a JPEG"),
        pytest.param("iVBORw0-_Kggo" * 50, r"base64\.b64decode\(text\)", id="base64 for URLs"),
        pytest.param(
            "data:image/png;base64,iVBORw0KGgo", r'base64\.b64decode\(url\.partition\(","\)\[2\]\)', id="data URL"
        ),
    ],
)
def test_an_image_as_text_is_shown_by_its_beginning_with_what_to_do(text: str, advice: str) -> None:
    with pytest.raises(ImageError, match=rf"a path of {len(text):,} characters, .*: it is .*{advice}$") as caught:
        read_grey(text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("path", ["/home/ann/" + "digits/" * 20 + "nine", "digits/" * 30 + "nine.png"])
def test_a_long_path_that_is_missing_is_no_base64(path: str) -> None:
    with pytest.raises(ImageError, match=r"can't read .*nine.*: No such file"):
        read_grey(path)


def test_an_open_binary_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "ramp.png"
    Image.fromarray(RAMP).save(path)
    buffer = io.BytesIO()
    Image.fromarray(RAMP).save(buffer, "PNG")  # it stands at its end now
    with path.open("rb") as file, path.open("rb", buffering=0) as raw:
        for source in (file, raw, buffer, io.BufferedReader(Pipe(path.read_bytes()))):
            np.testing.assert_array_equal(read_grey(source), RAMP)


class Pipe(io.RawIOBase):
    """A file that can't be read twice."""

    def __init__(self, data: bytes) -> None:
        self._rest = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._rest.readinto(buffer)


def test_arrays_of_other_classes_are_read() -> None:
    for source in (matrix(RAMP), np.ma.masked_array(RAMP), np.asfortranarray(RAMP), RAMP[::-1][::-1]):
        grey = read_grey(source)
        assert type(grey) is np.ndarray
        np.testing.assert_array_equal(grey, RAMP)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_an_image_that_pillow_has_opened_may_be_of_any_format() -> None:
    file = encoded(Image.fromarray(RAMP).resize((80, 60)), "AVIF")
    with pytest.raises(ImageError, match="is AVIF"):
        read_grey(file)
    with Image.open(io.BytesIO(file)) as opened:
        assert read_grey(opened).shape == (60, 80)


def test_a_photo_of_50_megapixels_is_read_and_more_if_asked_for() -> None:
    photo = encoded(Image.new("L", (8192, 6144), 200), "JPEG")  # 50.3 million
    assert max(read_grey(photo).shape) < 1024
    larger = encoded(Image.new("L", (9300, 7000), 200), "JPEG")
    with pytest.raises(ImageError, match="9300 × 7000; at most 52,000,000 pixels"):
        read_grey(larger)
    assert max(read_grey(larger, max_pixels=66_000_000).shape) < 1024


def test_an_image_is_turned_upright_as_its_exif_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90° clockwise
    turned = Image.fromarray(np.rot90(RAMP).copy())
    np.testing.assert_array_equal(read_grey(encoded(turned, exif=exif)), RAMP)


def test_what_is_transparent_is_paper() -> None:
    colours = np.zeros((2, 2, 4), np.uint8)
    colours[0, 0] = (0, 0, 0, 255)
    colours[0, 1] = (0, 0, 0, 128)
    expected = [[0, 127], [255, 255]]
    for source in (colours, Image.fromarray(colours), encoded(Image.fromarray(colours))):
        np.testing.assert_array_equal(read_grey(source), expected)


def test_a_transparent_colour_of_a_palette_is_paper() -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([10, 10, 10, 60, 60, 60])
    np.testing.assert_array_equal(read_grey(encoded(image, transparency=0)), [[255, 0]])


def test_colour_becomes_luma() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    np.testing.assert_array_equal(read_grey(colours), [[76, 150, 29]])


def test_sixteen_bit_greys_are_scaled_not_cut_off() -> None:
    deep = Image.fromarray(np.array([[0, 0x7FFF, 0xFFFF]], np.uint16))
    np.testing.assert_array_equal(read_grey(encoded(deep)), [[0, 127, 255]])


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_large_photo_is_averaged_down(kind: str) -> None:
    photo = encoded(Image.new("RGB", (4000, 3000), (200, 200, 200)), kind)
    grey = read_grey(photo)
    assert 512 <= max(grey.shape) < 1024
    assert grey.shape[1] / grey.shape[0] == pytest.approx(4 / 3, rel=0.01)
    assert np.ptp(grey) == 0


def test_the_declared_size_is_checked_before_anything_is_decoded() -> None:
    header_only = encoded(Image.new("L", (300, 200)))[:60]  # cut off within the first rows: can't be decoded
    with pytest.raises(ImageError, match="300 × 200") as caught:
        read_grey(header_only, max_pixels=59_999)
    assert caught.value.reason == "IMAGE_TOO_LARGE"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("size", [(30_000, 1), (1, 30_000), (3000, 2000)])
def test_whatever_its_mode_and_shape_an_image_gets_small(mode: str, size: tuple[int, int]) -> None:
    """A strip of a few bytes on disk once made preparation allocate the square of its length."""
    assert max(read_grey(Image.new(mode, size)).shape) < 1024


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_callers_image_stays_as_it_is(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(io.BytesIO(encoded(Image.effect_noise((200, 100), 50), "JPEG", exif=exif))) as photo:
        before = photo.tobytes()
        read_grey(photo)
        assert (photo.size, photo.tobytes(), photo.getexif()[0x0112]) == ((200, 100), before, orientation)


def test_a_large_photo_of_the_callers_keeps_its_size() -> None:
    with Image.open(io.BytesIO(encoded(Image.new("L", (2000, 1000), 200), "JPEG"))) as photo:
        read_grey(photo)
        assert photo.size == (2000, 1000)


def test_a_deep_image_is_turned_upright_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.rot90(RAMP.astype(np.uint16) << 8).copy())
    np.testing.assert_array_equal(read_grey(encoded(deep, exif=exif)), RAMP)


def test_values_without_a_known_white_are_refused() -> None:
    with pytest.raises(ImageError, match="is of mode F: scale it to 0 to 255, in mode L") as caught:
        read_grey(Image.new("F", (9, 9)))
    assert caught.value.reason == "IMAGE_UNSUPPORTED"


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_opened_image_that_is_cut_off_is_refused(kind: str) -> None:
    file = io.BytesIO(encoded(Image.effect_noise((90, 90), 50), kind)[:900])
    with Image.open(file) as cut_off, pytest.raises(ImageError, match="it is no image, truncated or damaged"):
        read_grey(cut_off)


def saved_array() -> bytes:
    file = io.BytesIO()
    np.save(file, RAMP)
    return file.getvalue()


def endless_array() -> Grey:
    """A byte that passes for a terapixel: copying it would fill the memory."""
    return np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (10**6, 10**6), (0, 0))


@pytest.mark.parametrize(
    ("source", "reason", "says"),
    [
        (Path("nowhere.png"), "IMAGE_NOT_FOUND", "can't read nowhere.png: No such file or directory"),
        ("no\0where.png", "IMAGE_NOT_FOUND", "embedded null byte"),
        (Image.new("L", (0, 0)), "IMAGE_UNSUPPORTED", "it has no pixels"),
        (b"no image", "IMAGE_UNREADABLE", "it is no image, truncated or damaged"),
        (encoded(Image.fromarray(RAMP))[:50], "IMAGE_UNREADABLE", "it is no image, truncated or damaged"),
        (b"", "IMAGE_UNREADABLE", "the file is empty: it has no bytes"),
        (
            "https://example.org/a.png",
            "IMAGE_NOT_FOUND",
            "can't read https://example.org/a.png: it is a URL; download it",
        ),
        (Path("https://example.org/a.png"), "IMAGE_NOT_FOUND", "it is a URL; download it, and pass its path or its by"),
        (Path("/dev/zero"), "IMAGE_UNSUPPORTED", "can't read /dev/zero: it is a FIFO, a device or a socket"),
        (Path("/"), "IMAGE_NOT_FOUND", "can't read /: Is a directory"),
        (
            encoded(Image.fromarray(RAMP), "PPM"),
            "IMAGE_UNSUPPORTED",
            "the file is PPM or one of its kin .* as JPEG or PNG",
        ),
        (
            encoded(Image.fromarray(RAMP), "ICO"),
            "IMAGE_UNSUPPORTED",
            "is ICO, which isn't read: save it as JPEG or PNG",
        ),
        (
            encoded(Image.fromarray(RAMP), "PCX"),
            "IMAGE_UNSUPPORTED",
            "is PCX, which isn't read: save it as JPEG or PNG",
        ),
        (
            encoded(Image.fromarray(RAMP), "TGA"),
            "IMAGE_UNSUPPORTED",
            "is TGA, which isn't read: save it as JPEG or PNG",
        ),
        (encoded(Image.fromarray(RAMP), "EPS"), "IMAGE_UNSUPPORTED", "is EPS or PostScript, which isn't read"),
        (b"8BPS\0\1" + bytes(90), "IMAGE_UNSUPPORTED", "is PSD, which isn't read: save it as JPEG or PNG"),
        (b"PK\3\4" + bytes(90), "IMAGE_UNSUPPORTED", "is a ZIP archive, which isn't read: take the images out of it"),
        (
            gzip.compress(b"image", mtime=0),
            "IMAGE_UNSUPPORTED",
            "is a gzip archive, which isn't read: take the images out of it",
        ),
        (encoded(Image.fromarray(RAMP)).replace(b"\r\n", b"\n"), "IMAGE_UNSUPPORTED", "copied as text, .*binary data"),
        (encoded(Image.fromarray(RAMP)).replace(b"\n", b"\r\n"), "IMAGE_UNSUPPORTED", "copied as text, .*binary data"),
        (encoded(Image.fromarray(RAMP)).decode("utf-8", "replace").encode(), "IMAGE_UNSUPPORTED", "copied as text, "),
        (encoded(Image.fromarray(RAMP), "JPEG").decode("utf-8", "replace").encode(), "IMAGE_UNSUPPORTED", "as text, "),
        (encoded(Image.fromarray(RAMP)).decode("latin-1").encode("utf-16"), "IMAGE_UNSUPPORTED", "copied as text, "),
        (b"iVBORw0KGgoAAAANSUhEUgAAABwAAAAc", "IMAGE_UNSUPPORTED", r"is base64 text, .*: pass base64\.b64decode"),
        (b"data:image/png;base64,iVBORw0KGgo", "IMAGE_UNSUPPORTED", r"is base64 text, .*: pass base64\.b64decode"),
        (b'{"error": "not found"}', "IMAGE_UNSUPPORTED", "is JSON, which isn't read: it may be the error of a failed"),
        (b'<?xml version="1.0"?><Error>', "IMAGE_UNSUPPORTED", "is XML, which isn't read: it may be the error of"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "IMAGE_UNSUPPORTED",
            "is a pointer of Git LFS, .*git lfs pull",
        ),
        (b"<!DOCTYPE html><html>404", "IMAGE_UNSUPPORTED", "is HTML, which isn't read: it may be the page of a failed"),
        (b"\0\0\0\x18ftypqt  " + bytes(90), "IMAGE_UNSUPPORTED", "is a video, which isn't read: save one of its"),
        (
            saved_array(),
            "IMAGE_UNSUPPORTED",
            "is an array of NumPy, which isn't read: pass the array, which numpy.load",
        ),
        (endless_array(), "IMAGE_TOO_LARGE", "the array is 1000000 × 1000000; at most 52,000,000 pixels are decoded"),
        (RAMP.astype(np.float32), "IMAGE_UNSUPPORTED", "holds uint8, 0 .black. to 255 .white., not float32"),
        (RAMP[0], "IMAGE_UNSUPPORTED", "is .H, W., .H, W, 3. or .H, W, 4., not .8,.: it is flat; give it its height"),
        (np.zeros((784, 1), np.uint8), "IMAGE_UNSUPPORTED", r"not .784, 1.: .* for example array.reshape.28, 28."),
        (np.zeros((1, 784), np.uint8), "IMAGE_UNSUPPORTED", r"not .1, 784.: .* for example array.reshape.28, 28."),
        (np.zeros(784, np.uint8), "IMAGE_UNSUPPORTED", r"not .784,.: .* for example array.reshape.28, 28."),
        (np.zeros((1, 1, 784), np.int64), "IMAGE_UNSUPPORTED", "array.reshape.28, 28."),
        (matrix(np.zeros(785, np.uint8)), "IMAGE_UNSUPPORTED", "not .1, 785.: it is flat; give it its height and w"),
        (np.zeros((28, 28, 1), np.uint8), "IMAGE_UNSUPPORTED", r"not .28, 28, 1.: remove .* by array.squeeze"),
        (np.zeros((1, 28, 28), np.uint8), "IMAGE_UNSUPPORTED", r"not .1, 28, 28.: remove .* by array.squeeze"),
        (np.zeros((3, 28, 28), np.uint8), "IMAGE_UNSUPPORTED", r"move its channels to the end, by array.transpose"),
        (np.zeros((2, 28, 28, 2), np.uint8), "IMAGE_UNSUPPORTED", r"not .2, 28, 28, 2.$"),
        (np.uint8(7) * np.ones(()), "IMAGE_UNSUPPORTED", r"not .."),
        ([[0, 255]], "IMAGE_UNSUPPORTED", ".numpy.asarray makes one., not list"),
        (io.StringIO("text"), "IMAGE_UNSUPPORTED", "the file gives str when read, not bytes: open it in binary mode"),
        (
            io.TextIOWrapper(io.BytesIO(b"\x89PNG"), encoding="utf-8"),
            "IMAGE_UNSUPPORTED",
            "gives text when read, not bytes: open it in binary mode",
        ),
        (closed_file(), "IMAGE_NOT_FOUND", "can't read the file: I/O operation on closed file"),
        (heic(), "IMAGE_UNSUPPORTED", "the file is HEIC, which isn't read: save it as JPEG or PNG. .* pillow-heif"),
        (b"\0\0\0\x18ftypmif1" + bytes(90), "IMAGE_UNSUPPORTED", "is HEIC, which isn't read"),
        (b"\0\0\0\x20ftypavif" + bytes(90), "IMAGE_UNSUPPORTED", "is AVIF, which isn't read: .* PIL.Image.open"),
        (b"\xff\x0a" + bytes(90), "IMAGE_UNSUPPORTED", "is JPEG XL, which isn't read: save it as JPEG or PNG"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(90), "IMAGE_UNSUPPORTED", "is JPEG 2000, which isn't read"),
        (b"%PDF-1.7\n", "IMAGE_UNSUPPORTED", "is PDF, which isn't read"),
        (b'<?xml version="1.0"?>\n<svg width="9">', "IMAGE_UNSUPPORTED", "is SVG, which isn't read"),
        (RAMP[:0], "IMAGE_UNSUPPORTED", "not .0, 8."),
        (7, "IMAGE_UNSUPPORTED", "not int"),
    ],
)
def test_what_is_no_image_is_refused(source: Any, reason: str, says: str) -> None:
    with pytest.raises(ImageError, match=says) as caught:
        read_grey(source)
    assert caught.value.reason == reason


def test_a_fifo_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "link.png").symlink_to("/dev/zero")
    for name in ("a.png", "link.png"):
        with pytest.raises(ImageError, match="only regular files are read") as caught:
            read_grey(tmp_path / name)
        assert caught.value.reason == "IMAGE_UNSUPPORTED"


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # it takes no place on the disk
    with pytest.raises(ImageError, match="it has 2,047 MiB, and at most 2,047 are read") as caught:
        read_grey(tmp_path / "a.png")
    assert caught.value.reason == "IMAGE_TOO_LARGE"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_the_bytes_of_a_file_may_lie_in_any_buffer(kind: Callable[[bytes], Any]) -> None:
    file = encoded(Image.fromarray(RAMP))
    np.testing.assert_array_equal(read_grey(kind(file)), read_grey(file))
