"""Surroundings: frames, boxes, pages and plots around a digit, and crops without paper around it, change nothing."""

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw

from vitrine.model import Pixels, prepare
from vitrine.model.preparation.surroundings import find_sheet

Grey = npt.NDArray[np.uint8]
POLARITIES = [pytest.param((255, 0), id="dark on light"), pytest.param((0, 255), id="light on dark")]
SIDES = [28, 48, 64, 65, 150, 400]
WIDTHS = [1, 2, 3, 6]


def digit(side: int) -> Grey:
    """The ink of a 2, cut out by its box and scaled: uint8, its longer side of `side` pixels."""
    large = Image.new("L", (400, 400))
    pen = ImageDraw.Draw(large)
    pen.arc((60, 20, 300, 240), 180, 45, fill=255, width=60)
    pen.line([(255, 195), (75, 360), (315, 360)], fill=255, width=60, joint="curve")
    box = large.crop(large.getbbox())
    return np.asarray(box.resize((max(round(box.width * side / box.height), 1), side), Image.Resampling.BOX))


def zero_of_segments(cell: int, bar: bool = False) -> Grey:
    """A 0, or with its bar an 8, of straight strokes, as displays have it."""
    ink = np.zeros((7 * cell, 4 * cell), np.uint8)
    ink[:cell] = ink[-cell:] = 255
    ink[:, :cell] = ink[:, -cell:] = 255
    if bar:
        ink[3 * cell : 4 * cell] = 255
    return ink


def on_paper(ink: Grey, levels: tuple[int, int], margin: int = 0) -> Grey:
    paper, pen = levels
    return np.rint(paper + (pen - float(paper)) * (np.pad(ink, margin) / 255)).astype(np.uint8)


def framed(page: Grey, line: int, width: int, sides: str = "tblr") -> Grey:
    """The page with lines around it on some sides."""
    top, bottom, left, right = (width * (side in sides) for side in "tblr")
    return np.pad(page, ((top, bottom), (left, right)), constant_values=line)


def distance(one: Pixels, other: Pixels) -> float:
    """The mean difference of two images' pixels, 0 to 255."""
    return float(np.abs(one.astype(float) - other).mean())


def assert_same_digit(image: Grey, most: float = 12) -> None:
    assert distance(prepare(image), prepare(on_paper(digit(100), (255, 0), margin=40))) < most


@pytest.mark.parametrize("levels", POLARITIES)
@pytest.mark.parametrize("side", [20, 28, 64, 65, 100, 250, 400])
def test_a_crop_by_the_digits_box_is_read_in_both_polarities(side: int, levels: tuple[int, int]) -> None:
    assert_same_digit(on_paper(digit(side), levels))


@pytest.mark.parametrize("levels", POLARITIES)
@pytest.mark.parametrize("side", [20, 60, 300])
def test_a_tight_crop_of_a_slanted_one_is_ink_though_most_of_its_border_is(side: int, levels: tuple[int, int]) -> None:
    image = Image.new("L", (100, 400))
    ImageDraw.Draw(image).polygon([(35, 0), (99, 0), (64, 399), (0, 399)], fill=255)
    ink = np.asarray(image.resize((max(side // 4, 1), side), Image.Resampling.BOX))
    pixels = prepare(on_paper(ink, levels))
    assert distance(pixels, prepare(on_paper(ink, (255, 0), margin=side // 4))) < 12


@pytest.mark.parametrize("levels", POLARITIES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("side", SIDES)
def test_a_frame_at_the_images_edge_isnt_the_digit(side: int, width: int, levels: tuple[int, int]) -> None:
    page = on_paper(digit(side * 2 // 3), levels, margin=side // 6)
    assert_same_digit(framed(page, levels[1], width))


@pytest.mark.parametrize("levels", POLARITIES)
@pytest.mark.parametrize("sides", ["t", "b", "lr", "tb", "tl", "tlr", "tbl"])
@pytest.mark.parametrize("margin", [0, 25])
def test_a_frame_or_box_may_miss_sides(sides: str, margin: int, levels: tuple[int, int]) -> None:
    for side in (40, 120):
        page = framed(on_paper(digit(side * 2 // 3), levels, margin=side // 6), levels[1], 2, sides)
        assert_same_digit(np.pad(page, margin, constant_values=levels[0]))


@pytest.mark.parametrize("levels", POLARITIES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("gap", [0, 12])
def test_a_box_drawn_round_the_digit_isnt_the_digit_whether_they_touch_or_not(
    gap: int, width: int, levels: tuple[int, int]
) -> None:
    page = np.pad(on_paper(digit(120), levels), ((gap, 12), (12, 12)), constant_values=levels[0])
    box = framed(page, levels[1], width)
    assert_same_digit(np.pad(box, 40, constant_values=levels[0]))


def test_a_circle_round_the_digit_isnt_the_digit() -> None:
    image = Image.new("L", (300, 300), 255)
    ImageDraw.Draw(image).ellipse((20, 20, 280, 280), outline=0, width=4)
    page = np.array(image)
    page[100:200, 115 : 115 + digit(100).shape[1]] = on_paper(digit(100), (255, 0))
    assert_same_digit(page)


@pytest.mark.parametrize("levels", POLARITIES)
@pytest.mark.parametrize("margins", [(30,) * 4, (140,) * 4, (90, 0, 0, 0), (60, 0, 100, 0), (15, 70, 30, 120)], ids=str)
def test_a_canvas_in_a_page_of_the_other_polarity_is_the_sheet(
    margins: tuple[int, int, int, int], levels: tuple[int, int]
) -> None:
    canvas = on_paper(digit(140), levels, margin=40)
    top, bottom, left, right = margins
    assert_same_digit(np.pad(canvas, ((top, bottom), (left, right)), constant_values=abs(levels[1] - 10)))


def test_a_canvas_with_round_corners_and_a_text_beside_it_is_the_sheet() -> None:
    image = Image.new("L", (400, 420), 250)
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((60, 70, 340, 350), 24, fill=15)
    pen.text((70, 30), "Draw a digit", fill=0)
    page = np.array(image)
    page[140:280, 140 : 140 + digit(140).shape[1]] = on_paper(digit(140), (15, 240))
    assert_same_digit(page)


@pytest.mark.parametrize("margin", [1, 5, 30])
@pytest.mark.parametrize("bar", [False, True], ids=["0", "8"])
@pytest.mark.parametrize("cell", [1, 4, 20])
def test_a_digit_that_is_itself_a_box_stays_whole(cell: int, bar: bool, margin: int) -> None:
    ink = zero_of_segments(cell, bar)
    expected = prepare(on_paper(zero_of_segments(5, bar), (255, 0), margin=10))
    assert distance(prepare(on_paper(ink, (255, 0), margin=margin)), expected) < 25


def test_an_ordinary_page_is_its_own_sheet() -> None:
    page = on_paper(digit(100), (255, 0), margin=40)
    assert find_sheet(page) is page
