"""Surroundings: frames, boxes, pages and plots around a digit, and crops without paper around it, change nothing."""

import numpy as np
import numpy.typing as npt
import pytest
from model.drawings import encoded
from PIL import Image, ImageDraw

from vitrine.model import Pixels, prepare, read_grey
from vitrine.model.preparation.crops import find_levels
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


def noisy(image: Grey, deviation: float) -> Grey:
    noise = np.random.default_rng(0).normal(0, deviation, image.shape)
    return np.rint(image + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("levels", [(220, 40), (40, 220), (170, 60), (60, 170)], ids=str)
@pytest.mark.parametrize("side", [70, 150, 400])
@pytest.mark.parametrize("deviation", [2, 5, 8])
def test_a_crop_with_noise_is_read_in_both_polarities(deviation: float, side: int, levels: tuple[int, int]) -> None:
    assert_same_digit(noisy(on_paper(digit(side), levels), deviation), most=30)


@pytest.mark.parametrize("levels", POLARITIES)
@pytest.mark.parametrize("quality", [50, 70, 85, 95])
@pytest.mark.parametrize("side", [70, 150, 400])
def test_a_crop_as_jpeg_is_read_in_both_polarities(side: int, quality: int, levels: tuple[int, int]) -> None:
    jpeg = encoded(Image.fromarray(on_paper(digit(side), levels)), "JPEG", quality=quality)
    assert_same_digit(read_grey(jpeg), most=14)


@pytest.mark.parametrize("levels", [(220, 40), (40, 220)], ids=str)
@pytest.mark.parametrize("side", [80, 110, 140])
@pytest.mark.parametrize("shape", ["wide strokes", "pale ends", "much of the border"])
def test_a_crop_of_unusual_strokes_with_noise_is_no_shadow(shape: str, side: int, levels: tuple[int, int]) -> None:
    image = Image.new("L", (400, 400))
    pen = ImageDraw.Draw(image)
    if shape == "wide strokes":
        pen.line([(0, 0), (399, 399)], fill=255, width=90)
        pen.line([(399, 0), (0, 399)], fill=255, width=90)
    elif shape == "pale ends":
        pen.line([(30, 30), (370, 30), (150, 399)], fill=120, width=60)
        pen.line([(60, 30), (340, 30), (160, 370)], fill=255, width=24)
    else:
        pen.ellipse((0, 0, 190, 399), outline=255, width=48)
    ink = np.asarray(image.crop(image.getbbox()))
    small = np.asarray(Image.fromarray(ink).resize((max(side * ink.shape[1] // 400, 1), side), Image.Resampling.BOX))
    expected = prepare(on_paper(small, levels, margin=side // 4))
    assert distance(prepare(noisy(on_paper(small, levels), 5)), expected) < 30


@pytest.mark.parametrize("side", [40, 90, 200, 500])
@pytest.mark.parametrize("angle", [0, 30, 90, 160, 250])
@pytest.mark.parametrize("depth", [0.15, 0.25])
def test_a_soft_shadow_along_the_border_is_no_crop(depth: float, angle: float, side: int) -> None:
    y, x = np.mgrid[:side, :side] / side - 0.5
    across = x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle))
    light = 1 - depth / (1 + np.exp(-(across - 0.15) * 12))
    assert find_levels(np.rint(235 * light).astype(np.uint8)) is None


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


@pytest.mark.parametrize("levels", POLARITIES)
@pytest.mark.parametrize("radius", [0.05, 0.12, 0.2])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("side", [90, 200, 400])
def test_a_box_with_round_corners_isnt_the_digit(side: int, width: int, radius: float, levels: tuple[int, int]) -> None:
    image = Image.new("L", (side * 3 // 2, side * 4 // 3))
    box = (side // 4, side // 5, side // 4 + side, side // 5 + side)
    ImageDraw.Draw(image).rounded_rectangle(box, radius * side, outline=255, width=width)
    ink, written = np.array(image), digit(side * 2 // 3)
    ink[side // 3 : side // 3 + len(written), side // 2 : side // 2 + written.shape[1]] = written
    assert_same_digit(on_paper(ink, levels))


@pytest.mark.parametrize("levels", POLARITIES)
@pytest.mark.parametrize("side", [40, 120])
def test_a_thick_digit_between_three_sides_of_a_box_is_no_dot(side: int, levels: tuple[int, int]) -> None:
    ink = np.zeros((side, side), np.uint8)
    ink[side // 5 : side * 4 // 5, side // 4 : side * 3 // 4] = 255
    ink[side * 7 // 20 : side * 13 // 20, side * 3 // 8 : side * 5 // 8] = 0
    page = framed(on_paper(ink, levels), levels[1], 2, "lrb")
    expected = prepare(np.pad(on_paper(ink, levels), 30, constant_values=levels[0]))
    assert distance(prepare(np.pad(page, 25, constant_values=levels[0])), expected) < 12


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


@pytest.mark.parametrize("levels", POLARITIES)
@pytest.mark.parametrize("beside", [False, True], ids=["below", "beside"])
@pytest.mark.parametrize("side", [100, 180, 280])
def test_a_button_near_a_canvas_doesnt_hide_it(side: int, beside: bool, levels: tuple[int, int]) -> None:
    paper, pen = levels
    image = Image.new("L", (side + 200, side + 240), pen)
    image.paste(
        Image.fromarray(on_paper(digit(side * 2 // 3), levels, margin=side // 6)).resize((side, side)), (70, 90)
    )
    corner = (70 + side + 6, 90) if beside else (70, 90 + side + 6)
    drawing = ImageDraw.Draw(image)
    drawing.rounded_rectangle((*corner, corner[0] + 60, corner[1] + 20), 4, outline=paper)
    drawing.text((corner[0] + 8, corner[1] + 4), "Clear", fill=paper)
    written = Image.fromarray(on_paper(digit(side * 2 // 3), levels, margin=side // 6)).resize((side, side))
    assert distance(prepare(np.asarray(image)), prepare(np.asarray(written))) < 12


@pytest.mark.parametrize("levels", POLARITIES)
@pytest.mark.parametrize("corner", [0, 0.06, 0.12])
@pytest.mark.parametrize("side", [110, 170, 300])
@pytest.mark.parametrize("tilt", [0, 25, 45, 70])
def test_a_canvas_is_the_sheet_though_its_digit_cuts_all_rows_and_columns(
    tilt: float, side: int, corner: float, levels: tuple[int, int]
) -> None:
    written = Image.fromarray(np.pad(digit(side * 2 // 3), side // 6)).rotate(tilt)
    canvas = on_paper(np.asarray(written.resize((side, side))), levels)
    outside, mask = levels[1], Image.new("L", (side, side))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, side - 1, side - 1), corner * side, fill=255)
    page = Image.new("L", (side + 110, side + 90), outside)
    page.paste(Image.fromarray(canvas), (60, 40), mask)
    assert distance(prepare(np.asarray(page)), prepare(np.pad(canvas, 2, constant_values=levels[0]))) < 12


@pytest.mark.parametrize("tilt", [0, 30, 60])
@pytest.mark.parametrize("bar", [False, True], ids=["", "colourbar"])
def test_a_plot_of_light_ink_is_its_canvas(bar: bool, tilt: float) -> None:
    written = np.asarray(Image.fromarray(np.pad(digit(240), 60)).rotate(tilt).resize((28, 28), Image.Resampling.BOX))
    plot = np.full((480, 640), 255, np.uint8)
    canvas = plot[60:424, 80:444]
    canvas[:] = written.repeat(13, axis=0).repeat(13, axis=1)
    if bar:
        plot[60:424, 480:500] = np.linspace(255, 0, 364)[:, None]
        plot[59:425, [479, 500]] = plot[[59, 424], 479:501] = 0
    plot[[59, 424], 79:445] = plot[59:425, [79, 444]] = 0
    for place in range(5):
        plot[424:428, 85 + 80 * place] = plot[70 + 80 * place, 76:80] = 0
    assert distance(prepare(plot), prepare(canvas)) < 14


@pytest.mark.parametrize("spacing", [24, 60])
def test_squared_paper_is_no_canvas(spacing: int) -> None:
    page = np.full((300, 320), 255, np.uint8)
    page[::spacing] = page[:, ::spacing] = 120
    assert find_sheet(page).shape[0] > 200 or find_sheet(page) is page


@pytest.mark.parametrize("margin", [1, 5, 30])
@pytest.mark.parametrize("bar", [False, True], ids=["0", "8"])
@pytest.mark.parametrize("cell", [1, 4, 20])
def test_a_digit_that_is_itself_a_box_stays_whole(cell: int, bar: bool, margin: int) -> None:
    ink = zero_of_segments(cell, bar)
    expected = prepare(on_paper(zero_of_segments(5, bar), (255, 0), margin=10))
    assert distance(prepare(on_paper(ink, (255, 0), margin=margin)), expected) < 25


@pytest.mark.parametrize("bar", [False, True], ids=["0", "8"])
@pytest.mark.parametrize("side", [50, 120, 280])
@pytest.mark.parametrize("radius", [0.1, 0.2, 0.25])
def test_a_digit_that_is_itself_a_box_with_round_corners_stays_whole(radius: float, side: int, bar: bool) -> None:
    image = Image.new("L", (side, side * 3 // 2), 255)
    pen = ImageDraw.Draw(image)
    box = (side // 5, side // 5, side * 4 // 5, side * 13 // 10)
    pen.rounded_rectangle(box, radius * side * 3 // 5, outline=0, width=side // 10)
    if bar:
        pen.rectangle((side // 5, side * 7 // 10, side * 4 // 5, side * 8 // 10), fill=0)
    expected = prepare(on_paper(zero_of_segments(5, bar), (255, 0), margin=10))
    assert distance(prepare(np.asarray(image)), expected) < 40


def test_an_ordinary_page_is_its_own_sheet() -> None:
    page = on_paper(digit(100), (255, 0), margin=40)
    assert find_sheet(page) is page
