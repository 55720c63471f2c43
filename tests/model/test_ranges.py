"""Values of another range than 0 to 255: read rightly, or refused with the range; never an empty page."""

import io
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from model.drawings import deep_png, encoded, ink_of_a_two
from PIL import Image

from vitrine.model import ImageError, prepare, read_grey

INK = ink_of_a_two(28)


def ranged(highest: int, kind: Any, side: int = 28) -> npt.NDArray[Any]:
    """Dark on light, 0 to `highest`."""
    return np.rint((255 - ink_of_a_two(side)) / 255 * highest).astype(kind)


def difference(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    return float(np.abs(one.astype(float) - other).mean())


@pytest.mark.parametrize("highest", [1, 2, 9, 15, 16])
@pytest.mark.parametrize("side", [28, 240])
def test_few_levels_are_read_as_all_of_them(highest: int, side: int) -> None:
    levels = ranged(highest, np.uint8, side)
    expected = prepare(np.rint(levels / highest * 255).astype(np.uint8))
    colours = np.dstack([levels] * 3)
    for source in (levels, highest - levels, colours, encoded(Image.fromarray(levels)), Image.fromarray(levels)):
        assert difference(prepare(source), expected) < 2
    assert expected.any()


def test_a_data_set_of_8_by_8_with_0_to_16() -> None:
    digits = pytest.importorskip("sklearn.datasets").load_digits().images[:50]  # float64, 0.0 to 16.0
    for digit in digits:
        levels = digit.astype(np.uint8)
        expected = prepare(np.pad(np.rint(digit / digit.max() * 255).astype(np.uint8), 1))
        assert expected.any()
        for source in (levels, levels.astype(np.int64), np.dstack([levels] * 3)):
            assert difference(prepare(source), expected) < 2


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.int32, np.int64, np.uint16])
def test_masks_of_any_type(kind: Any) -> None:
    mask = INK > 127
    np.testing.assert_array_equal(prepare(mask.astype(kind)), prepare(np.where(mask, 255, 0).astype(np.uint8)))


def test_a_large_mask_with_thin_lines_keeps_them() -> None:
    mask = np.zeros((2000, 2000), np.uint8)
    mask[300:1700, 1000] = 1
    assert prepare(mask).any()


def test_a_mask_in_the_channels_of_rgba() -> None:
    mask = (INK > 127).astype(np.uint8)
    expected = prepare(mask)
    for grey in (np.zeros_like(mask), np.ones_like(mask), mask):
        np.testing.assert_array_equal(prepare(np.dstack((grey, grey, grey, mask))), expected)


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int64, np.uint32])
def test_whole_numbers_of_0_to_255_are_read_whatever_their_type(kind: Any) -> None:
    highest = 127 if kind is np.int8 else 255
    values = ranged(highest, kind)
    np.testing.assert_array_equal(read_grey(values), values.astype(np.uint8))


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_the_bits_that_16_bit_images_use(bits: int) -> None:
    deep = ranged((1 << bits) - 1, np.uint16, 240)
    expected = (deep >> (bits - 8)).astype(np.uint8)
    sources = (deep, deep.astype(np.int32), Image.fromarray(deep), encoded(Image.fromarray(deep)))
    for source in (*sources, encoded(Image.fromarray(deep), "TIFF"), Image.fromarray(deep.astype(np.int32))):
        np.testing.assert_array_equal(read_grey(source), expected)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.array([[0, 70_000], [9, 9]]), "has values from 0 to 70000: an image has 0 .black. to 255"),
        (np.array([[-1, 1], [0, 0]], np.int8), "has values from -1 to 1"),
        (INK / 255, r"float64 from 0 to 1: use \(255 \* array\).astype\(numpy.uint8\)"),
        (np.rint(INK / 255 * 16), r"float64 from 0 to 16: use array.astype\(numpy.uint8\)"),
        ((INK / 255 - 0.1307) / 0.3081, "from -0.424213 to 2.82149: use values scaled to 0 to 255"),
        (np.array([["a", "b"], ["c", "d"]]), "not <U1"),
    ],
)
def test_other_values_are_refused_with_their_range_and_what_to_do(array: npt.NDArray[Any], says: str) -> None:
    with pytest.raises(ImageError, match=says) as caught:
        read_grey(array)
    assert caught.value.reason == "IMAGE_UNSUPPORTED"


@pytest.mark.parametrize("value", [0, 1, 7, 16, 128, 255])
@pytest.mark.parametrize("shape", [(28, 28), (200, 300), (28, 28, 3)])
def test_a_page_of_one_value_is_empty(value: int, shape: tuple[int, ...]) -> None:
    assert not prepare(np.full(shape, value, np.uint8)).any()
    assert not prepare(np.full(shape, value, np.int64)).any()


@pytest.mark.parametrize("paper", [40, 120, 245])
def test_a_page_with_little_contrast_stays_empty(paper: int) -> None:
    assert not prepare((paper - INK // 32).astype(np.uint8)).any()  # 7 levels
    assert not prepare((paper << 8) - (INK.astype(np.uint16) << 3)).any()


@pytest.mark.parametrize("level", [0.2, 1.0, 2.0])
def test_the_noise_of_a_photo_in_the_dark_is_no_drawing(level: float) -> None:
    noise = np.random.default_rng(1).poisson(level, (300, 400)).astype(np.uint8)
    assert not prepare(noise).any() or level < 0.5
    np.testing.assert_array_equal(read_grey(noise), noise)


def test_a_dark_jpeg_stays_dark() -> None:
    dark = encoded(Image.fromarray(ranged(12, np.uint8, 240)), "JPEG", quality=95)
    assert read_grey(dark).max() <= 16


@pytest.mark.parametrize("interlaced", [False, True], ids=["", "interlaced"])
@pytest.mark.parametrize("side", [28, 240, 1100])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_the_bits_that_16_bit_colour_images_use(channels: int, bits: int, side: int, interlaced: bool) -> None:
    highest = (1 << bits) - 1
    deep = np.dstack([ranged(highest, np.uint16, side)] * channels)
    for alpha in (highest, 65535) if channels in (2, 4) else (0,):
        if alpha:
            deep[..., -1] = alpha
        read = read_grey(deep_png(deep, interlaced))
        shallow = Image.fromarray((deep[..., 0] >> (bits - 8)).astype(np.uint8))
        np.testing.assert_allclose(read.astype(int), read_grey(encoded(shallow)), atol=1)


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_alpha_of_few_of_16_bits_is_the_ink(bits: int) -> None:
    alpha = np.rint(ink_of_a_two(240) / 255 * ((1 << bits) - 1)).astype(np.uint16)
    for grey in (0, (1 << bits) - 1):
        drawing = np.dstack([np.full_like(alpha, grey)] * 3 + [alpha])
        assert difference(prepare(deep_png(drawing)), prepare(255 - ink_of_a_two(240))) < 2


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_a_black_page_of_16_bits_is_empty(channels: int) -> None:
    assert not prepare(deep_png(np.zeros((40, 40, channels), np.uint16))).any()


def test_lower_bits_that_cannot_be_read_are_no_empty_page() -> None:
    deep = np.dstack([ranged(255, np.uint16, 60)] * 3)
    image = Image.open(io.BytesIO(deep_png(deep)))  # it was opened elsewhere: its file isn't here
    with pytest.raises(ImageError, match="has 16 bits a channel and values from 0 to 255 at most") as caught:
        read_grey(image)
    assert caught.value.reason == "IMAGE_UNSUPPORTED"
    tiff = tiff_of(deep)
    with pytest.raises(ImageError, match="save it with 8 bits a channel"):
        read_grey(tiff)


def tiff_of(channels: npt.NDArray[np.uint16]) -> bytes:
    """An uncompressed TIFF with 16 bits in each of 3 channels, which Pillow can't write; uint16 (H, W, 3)."""
    height, width, _ = channels.shape
    pixels = channels.astype("<u2").tobytes()
    depths_at = 8
    tags_at = depths_at + 6 + len(pixels)
    tags = [
        *((256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, depths_at), (259, 3, 1, 1), (262, 3, 1, 2)),
        *((273, 4, 1, depths_at + 6), (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, len(pixels))),
    ]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = struct.pack("<2sHI", b"II", 42, tags_at) + struct.pack("<HHH", 16, 16, 16)
    return head + pixels + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
