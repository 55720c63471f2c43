"""Preparation: however a digit comes in, the same pixels go to the model."""

import hashlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageDraw

from vitrine.model import Pixels, prepare

Grey = npt.NDArray[np.uint8]


def seven(side: int = 120, width: int = 12, shift: tuple[int, int] = (0, 0), paper: int = 255, ink: int = 0) -> Grey:
    """A drawn seven on square paper."""
    image = Image.new("L", (side, side), paper)
    points = [(x * side + shift[0], y * side + shift[1]) for x, y in ((0.3, 0.25), (0.7, 0.25), (0.45, 0.75))]
    ImageDraw.Draw(image).line(points, ink, width)
    return np.asarray(image)


def drawn(height: int, width: int, number: int) -> Grey:
    """A page with a thick bent line, its place and greys from a number, by numpy alone: uint8 (height, width)."""
    random = np.random.default_rng(number)
    rows, columns = np.mgrid[:height, :width]
    top, left = random.uniform(0.2, 0.4, 2)
    bend = random.uniform(-0.2, 0.2)
    y, x = rows / height, columns / width
    near = np.abs(x - left - 0.3 * y - bend * np.sin(6 * y)) < random.uniform(0.02, 0.08)
    ink = near & (y > top) & (y < top + 0.45)
    page: Grey = np.where(ink, random.integers(0, 90), random.integers(170, 256)).astype(np.uint8)
    return page


def distance(one: Pixels, other: Pixels) -> float:
    """The mean difference of two images' pixels, 0 to 255."""
    return float(np.abs(one.astype(float) - other).mean())


def test_pixels_are_18_by_18_with_paper_0_and_ink_255() -> None:
    pixels = prepare(seven())
    assert pixels.shape == (18, 18)
    assert pixels.dtype == np.uint8
    assert pixels[0].max() == pixels[:, 0].max() == 0
    assert pixels.max() == 255


SIZES = [(12, 12), (28, 28), (20, 60), (64, 30), (100, 100), (300, 200), (180, 640), (900, 700)]
PIXELS_AS_EVER = "ad0a14bd7f4d57f7060d9c58504fd637f9495959bea495da3fa3f9b55e9bf23f"
"""The SHA-256 of the pixels of two images of each size, as version 5542640 made them, which knew 18 × 18 only."""


def test_pixels_of_digits_are_as_ever_byte_for_byte() -> None:
    digest = hashlib.sha256()
    for number, size in enumerate(SIZES):
        page = drawn(*size, number)
        for image in (page, 255 - page):
            digest.update(prepare(image).tobytes())
    assert digest.hexdigest() == PIXELS_AS_EVER


SHAPES = [(12, 20), (20, 12), (4, 4), (36, 36), (28, 28), (10, 80), (1, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_pixels_have_the_shape_that_is_asked_for(shape: tuple[int, int]) -> None:
    for number, size in enumerate(SIZES):
        pixels = prepare(drawn(*size, number), shape=shape)
        assert pixels.shape == shape
        assert pixels.dtype == np.uint8
        assert pixels.max() == 255


@pytest.mark.parametrize(
    ("bar", "shape", "fills"),
    [
        ((48, 6), (18, 36), (16, 2)),  # a tall box fills the height
        ((6, 48), (18, 36), (4, 32)),  # a wide box fills the width
        ((48, 6), (36, 18), (32, 4)),
        ((24, 48), (18, 36), (16, 32)),  # a box of the frame's proportion fills both
        ((40, 40), (18, 54), (16, 16)),
    ],
)
def test_ink_fills_the_frame_but_for_a_margin_with_its_aspect_kept(
    bar: tuple[int, int], shape: tuple[int, int], fills: tuple[int, int]
) -> None:
    page = np.full((60, 60), 255, np.uint8)
    page[5 : 5 + bar[0], 5 : 5 + bar[1]] = 0
    pixels = prepare(page, shape=shape)
    ink = pixels > 127
    assert (ink.any(axis=1).sum(), ink.any(axis=0).sum()) == fills
    centres = [np.flatnonzero(ink.any(axis=1 - axis)).mean() + 0.5 for axis in (0, 1)]
    assert centres == pytest.approx([side / 2 for side in shape], abs=0.51)


def test_in_any_frame_the_centre_of_mass_moves_as_far_as_the_box_stays_inside() -> None:
    ink = prepare(stem_with_arm(16), shape=(20, 20)).max(axis=0) > 0
    assert ink[-1]
    wide = prepare(stem_with_arm(16), shape=(18, 36))
    columns = wide.sum(axis=0, dtype=float)
    assert float(columns @ np.arange(36)) / columns.sum() + 0.5 == pytest.approx(18, abs=0.4)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(seven(paper=0, ink=255), id="light on dark"),
        pytest.param(seven(paper=200, ink=90), id="low contrast"),
        pytest.param(seven(shift=(20, -15)), id="off centre"),
        pytest.param(np.pad(seven(), ((0, 300), (50, 0)), constant_values=255), id="on a large sheet"),
        pytest.param(seven(240, 24), id="twice the size"),
        pytest.param(np.stack([seven()] * 3, axis=2), id="in colour"),
    ],
)
def test_paper_ink_place_and_size_make_no_difference(other: Grey) -> None:
    assert distance(prepare(other), prepare(seven())) < 4


def test_paper_grain_is_paper() -> None:
    grain = np.random.default_rng(0).integers(-8, 9, (120, 120))
    noisy = (seven(paper=230, ink=40) + grain).clip(0, 255).astype(np.uint8)
    assert distance(prepare(noisy), prepare(seven())) < 4


def test_thin_strokes_are_not_pale() -> None:
    assert prepare(seven(side=800, width=2)).max() == 255


def test_the_aspect_is_kept() -> None:
    bar = np.full((100, 100), 255, np.uint8)
    bar[10:90, 45:55] = 0  # 80 × 10
    ink = prepare(bar) > 127
    assert (ink.any(axis=1).sum(), ink.any(axis=0).sum()) == (16, 2)


def stem_with_arm(length: int) -> Grey:
    page = np.full((80, 80), 255, np.uint8)
    page[20:40, 20:24] = 0  # a heavy stem
    page[29:31, 24 : 24 + length] = 0  # a thin arm to the right
    return page


def test_ink_is_centred_by_mass() -> None:
    columns = prepare(stem_with_arm(8)).sum(axis=0, dtype=float)
    centre = float(columns @ np.arange(18)) / columns.sum() + 0.5
    assert centre == pytest.approx(9, abs=0.2)  # a fifth of a pixel: the resampling spreads edges


def test_nothing_is_cut_off_for_the_sake_of_the_centre() -> None:
    ink = prepare(stem_with_arm(16)).max(axis=0) > 0  # its mass lies far to the left
    assert np.flatnonzero(ink)[[0, -1]].tolist() == [1, 17]
    assert ink[1:].all()


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_an_empty_page_gives_empty_pixels(shade: int) -> None:
    assert not prepare(np.full((50, 40), shade, np.uint8)).any()
    assert not prepare(np.full((50, 40), shade, np.uint8) ^ np.uint8(7) * np.eye(50, 40, dtype=np.uint8)).any()


def test_preparing_again_changes_little() -> None:
    once = prepare(seven())
    assert distance(prepare(once), once) < 6


@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(2, 70), st.integers(2, 70))),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_any_image_gives_pixels_of_any_shape(image: Grey, shape: tuple[int, int]) -> None:
    pixels = prepare(image, shape=shape)
    assert pixels.shape == shape
    assert pixels.max() in (0, 255)


@given(arrays.arrays(np.uint8, st.tuples(st.integers(2, 70), st.integers(2, 70))))
def test_any_image_gives_pixels(image: Grey) -> None:
    pixels = prepare(image)
    assert pixels.shape == (18, 18)
    assert pixels.dtype == np.uint8
    assert pixels.max() in (0, 255)
