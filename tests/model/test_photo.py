"""Photos: whatever light, paper and table there are, the digit's ink goes to the model, and nothing else."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageDraw, ImageFilter

from vitrine.model import Pixels, prepare
from vitrine.model.preparation.blobs import Blobs
from vitrine.model.preparation.paper import close, measure_contrast, measure_noise, smooth
from vitrine.model.preparation.pen import even_strokes, stroke_width
from vitrine.model.preparation.photo import fits_a_square, split
from vitrine.model.preparation.pipeline import crop, find_ink, place, stretch

Grey = npt.NDArray[np.uint8]
HEIGHT, WIDTH = 300, 400


def sheet(paper: int = 235, ink: int = 40, width: int = 14) -> Grey:
    """A five, written on paper: four by three."""
    image = Image.new("L", (WIDTH, HEIGHT), paper)
    pen = ImageDraw.Draw(image)
    pen.line([(230, 90), (175, 90), (170, 145)], ink, width)
    pen.arc((145, 135, 235, 225), 230, 500, ink, width)
    return np.asarray(image)


def lit(grey: Grey, light: npt.NDArray[np.float64]) -> Grey:
    return np.rint(grey * light).astype(np.uint8)


def distance(one: Pixels, other: Pixels) -> float:
    """The mean difference of two images' pixels, 0 to 255."""
    return float(np.abs(one.astype(float) - other).mean())


ACROSS = np.linspace(1, 0.35, WIDTH)[None, :]
DOWN = np.linspace(0.35, 1, HEIGHT)[:, None]
SHADOW = np.where(np.arange(WIDTH) + np.arange(HEIGHT)[:, None] > 340, 0.5, 1.0)


def on_a_table(page: Grey, table: int) -> Grey:
    """The sheet, turned a little, with the table around it."""
    photo = Image.new("L", (520, 420), table)
    shape = Image.new("L", (WIDTH, HEIGHT), 255).rotate(4, Image.Resampling.BICUBIC, expand=True)
    photo.paste(Image.fromarray(page).rotate(4, Image.Resampling.BICUBIC, expand=True), (40, 40), shape)
    return np.asarray(photo.rotate(-4, Image.Resampling.BICUBIC, fillcolor=table))


def squared(page: Grey, level: int) -> Grey:
    ruled = page.copy()
    ruled[12::30], ruled[:, 7::30] = level, level
    return np.minimum(ruled, page)


@pytest.mark.parametrize(
    "photo",
    [
        pytest.param(lit(sheet(), ACROSS), id="light from the left"),
        pytest.param(lit(sheet(), DOWN), id="light from below"),
        pytest.param(lit(sheet(), SHADOW), id="a sharp shadow across the digit"),
        pytest.param(squared(sheet(), 190), id="squared paper"),
        pytest.param(on_a_table(sheet(), 60), id="a dark table around the sheet"),
        pytest.param(on_a_table(sheet(), 150), id="a grey table around the sheet"),
        pytest.param(255 - lit(sheet(), np.sqrt(DOWN)), id="light on dark, lit unevenly"),
        pytest.param(sheet(paper=200, ink=150), id="pale ink"),
    ],
)
def test_light_paper_and_table_make_no_difference(photo: Grey) -> None:
    assert distance(prepare(photo), prepare(sheet())) < 8


@pytest.mark.parametrize("width", [1, 2, 3, 24, 28])
def test_any_pen_gives_strokes_of_a_usual_width(width: int) -> None:
    pixels = prepare(sheet(width=width))
    assert 1.2 < stroke_width(pixels) < 4
    assert (pixels > 200).sum() > 20


def test_what_lies_around_the_digit_is_paper() -> None:
    photo = on_a_table(lit(sheet(), SHADOW), 70).copy()
    photo[390:, 300:] = 20  # a thumb at the border
    pixels = prepare(photo)
    assert distance(pixels, prepare(sheet())) < 8


def test_a_digit_of_two_parts_keeps_both() -> None:
    page = sheet().copy()
    page[96:100, 100:300] = 235  # the bar of the five apart from its belly
    bar_and_belly = prepare(page)
    assert (bar_and_belly[1:4] > 128).sum() > 5
    assert (bar_and_belly[8:] > 128).sum() > 20


@pytest.mark.parametrize("light", [ACROSS, DOWN, SHADOW], ids=["across", "down", "shadow"])
def test_an_empty_page_is_empty_in_any_light(light: npt.NDArray[np.float64]) -> None:
    assert not prepare(lit(np.full((HEIGHT, WIDTH), 240, np.uint8), light)).any()


def test_grain_alone_is_no_ink() -> None:
    grain = np.random.default_rng(0).normal(230, 4, (HEIGHT, WIDTH)).clip(0, 255).astype(np.uint8)
    assert not prepare(grain).any()


def test_a_digit_that_reaches_the_border_is_kept_where_nothing_else_is_there() -> None:
    tight = sheet()[84:226, 146:236]
    assert distance(prepare(tight), prepare(sheet())) < 12


def test_a_small_image_whose_strokes_reach_the_frame_is_plain() -> None:
    """One in 75 of MNIST's images is like that; they are prepared as all others are."""
    small = np.zeros((28, 28), np.uint8)
    small[4:24, 12:15] = 255
    small[8:11, 12:28] = 200
    np.testing.assert_array_equal(prepare(small), stretch(place(crop(find_ink(small, paper=0)))))


def test_a_closing_is_the_lightest_near_and_then_the_darkest_of_those() -> None:
    grey = np.random.default_rng(1).integers(0, 256, (23, 17), dtype=np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view
    largest = windows(np.pad(grey, 4, "edge"), (5, 5)).max(axis=(2, 3))
    expected = windows(largest, (5, 5)).min(axis=(2, 3))
    np.testing.assert_array_equal(close(grey, 5), expected)


def test_contrast_is_a_share_of_the_paper_whatever_light_there_is() -> None:
    bright, _ = measure_contrast(sheet(paper=240, ink=60))
    dim, _ = measure_contrast(sheet(paper=120, ink=30))
    assert bright.max() == dim.max() == 191  # three quarters
    assert bright[0, 0] == dim[0, 0] == 0


def test_only_noise_is_smoothed() -> None:
    page = sheet()
    assert smooth(page, measure_noise(page)) is page
    noisy = (page + np.random.default_rng(0).normal(0, 12, page.shape)).clip(0, 255).astype(np.uint8)
    assert measure_noise(noisy) == pytest.approx(12, rel=0.2)
    assert np.std(smooth(noisy, 12)[:60, :60]) < 0.7 * np.std(noisy[:60, :60])


@given(arrays.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_blobs_hang_together_and_apart_from_each_other(mask: npt.NDArray[np.bool_]) -> None:
    blobs = Blobs.of(mask * np.uint8(200), 100)
    np.testing.assert_array_equal(blobs.labels >= 0, mask)
    assert [flooded(mask, *np.argwhere(blobs.labels == blob)[0]) for blob in range(len(blobs))] == [
        {(int(row), int(column)) for row, column in np.argwhere(blobs.labels == blob)} for blob in range(len(blobs))
    ]
    for blob in range(len(blobs)):
        rows, columns = np.nonzero(blobs.labels == blob)
        assert (blobs.top[blob], blobs.bottom[blob]) == (rows.min(), rows.max() + 1)
        assert (blobs.left[blob], blobs.right[blob]) == (columns.min(), columns.max() + 1)
        assert (blobs.area[blob], blobs.weight[blob]) == (len(rows), 200 * len(rows))


def flooded(mask: npt.NDArray[np.bool_], row: int, column: int) -> set[tuple[int, int]]:
    """The pixels that are connected with a pixel, found one by one."""
    reached, left = {(int(row), int(column))}, [(int(row), int(column))]
    while left:
        y, x = left.pop()
        for near in ((y + down, x + right) for down in (-1, 0, 1) for right in (-1, 0, 1)):
            inside = 0 <= near[0] < mask.shape[0] and 0 <= near[1] < mask.shape[1]
            if inside and mask[near] and near not in reached:
                reached.add(near)
                left.append(near)
    return reached


def test_two_groups_are_split_between_them() -> None:
    values = np.array([20] * 50 + [30] * 50 + [180] * 9 + [200] * 9, np.uint8)
    assert 30 <= split(values) < 180


@pytest.mark.parametrize(("side", "fits"), [(4, True), (5, False), (9, False)])
def test_a_square_fits_or_not(side: int, fits: bool) -> None:
    mask = np.zeros((8, 8), np.bool_)
    mask[1:5, 2:8] = True
    assert fits_a_square(mask, side) == fits


def test_strokes_of_usual_width_are_left_alone() -> None:
    box = 255 - sheet(paper=255, ink=0, width=18)[80:226, 144:236]
    assert even_strokes(box) is box
    assert stroke_width(box) == pytest.approx(18, rel=0.15)
    empty = np.zeros((5, 5), np.uint8)
    assert even_strokes(empty) is empty


def test_blur_makes_little_difference() -> None:
    blurred = np.asarray(Image.fromarray(sheet()).filter(ImageFilter.GaussianBlur(4)))
    assert distance(prepare(blurred), prepare(sheet())) < 15
