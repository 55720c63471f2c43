"""Large images: brought to working size in strips, at a cost that is known before they are decoded."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from vitrine.model import ImageError, read_grey
from vitrine.model.preparation import strips
from vitrine.model.preparation.image import MAX_SCANS, WORKING_SIDE
from vitrine.model.preparation.metadata import TURNS, count_scans

SIZE = (1300, 1777)  # neither side is a multiple of the factor by which it is reduced
FACTOR = max(SIZE) // WORKING_SIDE
START_OF_SCAN, END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def photo() -> Image.Image:
    """Noise on waves, so that every pixel tells its place."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    waves = 128 + 60 * (np.sin(x / 37) + np.cos(y / 51))
    noise = np.random.default_rng(0).integers(-7, 8, (*waves.shape, 3))
    return Image.fromarray((waves[..., None] + noise).clip(0, 255).astype(np.uint8))


def mask(highest: int) -> Image.Image:
    """A disk of a narrow range of values."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    return Image.fromarray((((x - 650) ** 2 + (y - 800) ** 2 < 400**2) * highest).astype(np.uint8))


@pytest.fixture(params=[1 << 14, strips.STRIP_PIXELS], ids=["many strips", "few strips"], autouse=True)
def strip_pixels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "STRIP_PIXELS", request.param)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1"])
def test_strips_give_what_the_whole_gives(mode: str, orientation: int) -> None:
    image = photo().convert(mode)
    upright = image.transpose(TURNS[orientation]) if orientation in TURNS else image
    whole = (upright if mode == "L" else upright.convert("RGB")).reduce(FACTOR).convert("L")
    read = read_grey(encoded(image, exif=turned(orientation)))
    np.testing.assert_array_equal(read, np.asarray(whole))


@pytest.mark.parametrize("highest", [1, 12])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_large_mask_is_brought_to_the_full_range(mode: str, highest: int) -> None:
    narrow = mask(highest)
    full = np.asarray(mask(255).transpose(Image.Transpose.ROTATE_270).reduce(FACTOR))
    image = narrow if mode == "L" else Image.merge(mode, [narrow] * len(mode))
    read = read_grey(encoded(image, exif=turned(6)))
    expected = 255 - full if mode == "RGBA" else full  # where alpha has a shape, that is the ink
    np.testing.assert_allclose(read.astype(int), expected, atol=1)


def test_a_large_dark_photo_stays_dark() -> None:
    specks = np.random.default_rng(0).random(SIZE[::-1]) < 0.01
    assert read_grey(encoded(Image.fromarray(specks.astype(np.uint8) * 9))).max() <= 9


def many_scans(scans: int) -> bytes:
    file = encoded(Image.new("L", (64, 64), 200), "JPEG", progressive=True)
    last = file[file.rindex(START_OF_SCAN) : -len(END_OF_IMAGE)]
    return file[: -len(END_OF_IMAGE)] + (scans - count_scans(file)) * last + END_OF_IMAGE


def test_a_jpeg_of_too_many_scans_is_refused() -> None:
    assert read_grey(many_scans(MAX_SCANS)).shape == (64, 64)
    with pytest.raises(ImageError, match=f"has {MAX_SCANS + 1} scans") as caught:
        read_grey(many_scans(MAX_SCANS + 1))
    assert caught.value.reason == "IMAGE_UNSUPPORTED"


def test_a_thumbnails_scans_and_what_follows_a_jpeg_do_not_count() -> None:
    image = encoded(Image.new("L", (64, 64)), "JPEG", comment=b"\xff\xda" * 200)
    assert count_scans(image + b"\xff\xda" * 200) == 1


PEAKS = """
import io, sys
from pathlib import Path
import numpy as np
from model.drawings import deep_png
from PIL import ExifTags, Image
from vitrine.model import read_grey

def highest():
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10

exif = Image.Exif()
exif[ExifTags.Base.Orientation] = 6
for number, case in enumerate(sys.argv[1:]):
    kind, mode, option = case.split(":")
    options = {"P": {"transparency": 0}} .get(mode, {}) if kind in ("PNG", "GIF") else {}
    if option not in ("", "deep"):
        options |= {"compression": option} if kind == "TIFF" else {option: True}
    options |= {"exif": exif} if kind in ("PNG", "WEBP", "TIFF", "JPEG") else {}
    file = io.BytesIO()
    if option == "deep":
        file.write(deep_png(np.full((3000, 4000, len(mode)), 7, np.uint16)))
    else:
        Image.new(mode, (4000, 3000), 7 if len(mode) == 1 else None).save(file, kind, **options)
    announced = []
    Path("/proc/self/clear_refs").write_text("5")
    before = highest()
    read_grey(file.getvalue(), before_decoding=announced.append)
    print(case, highest() - before, *announced)
"""
CASES = """PNG:L: PNG:1: PNG:P: PNG:LA: PNG:RGB: PNG:RGBA: PNG:I;16: WEBP:RGB:lossless WEBP:RGBA:lossless GIF:P: BMP:L:
BMP:RGB: TIFF:L: TIFF:RGB: TIFF:RGB:tiff_lzw TIFF:CMYK: TIFF:I;16: JPEG:RGB: JPEG:RGB:progressive JPEG:CMYK:progressive
PNG:RGB:deep PNG:RGBA:deep
"""
WORKING_BYTES = 24 << 20
"""Bytes of a copy of the file, of the strips and of the image at working size."""


def test_decoding_takes_no_more_memory_than_was_announced() -> None:
    program = [sys.executable, "-c", PEAKS, *CASES.split()]
    tests = Path(__file__).parents[1]  # for the drawings
    lines = subprocess.run(program, capture_output=True, text=True, check=True, cwd=tests).stdout.splitlines()
    assert len(lines) == len(CASES.split())
    for line in lines:
        case, peak, announced = line.split()
        assert int(peak) <= int(announced) + WORKING_BYTES, line
        if ":L:" in case or ":1:" in case:
            assert int(announced) <= 5 * 12_000_000, line
