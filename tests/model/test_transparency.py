"""Transparent images: drawings on a transparent canvas, and pages with transparent margins."""

import numpy as np
import pytest
from model.drawings import BLACK, WHITE, Colour, drawn, encoded, ink_of_a_two, page
from PIL import Image, ImageDraw, ImageFilter

from vitrine.model import prepare, read_grey

INK = ink_of_a_two()
EXPECTED = prepare(255 - INK)
GRADIENT = np.tile(np.linspace(0, 255, 240)[:, None, None], (1, 240, 1))  # (H, W, 1)

INKS: dict[str, Colour] = {
    "black": BLACK,
    "white": WHITE,
    "grey": (128, 128, 128),
    "pale blue": (230, 240, 255),
    "yellow": (255, 255, 0),
    "red": (220, 30, 30),
    "blue": (30, 60, 220),
}
PAPERS: dict[str, tuple[Colour, Colour]] = {
    "white": (WHITE, BLACK),
    "grey": ((170, 170, 170), (20, 20, 20)),
    "yellow": ((250, 230, 90), (20, 20, 90)),
    "blackboard": ((20, 30, 25), (240, 240, 240)),
}


def looks_like_a_two(image: Image.Image | bytes, limit: float = 6) -> bool:
    """True if it gives nearly the pixels of the same digit in black on white; other digits are 60 and more away."""
    return float(np.abs(prepare(image).astype(float) - EXPECTED).mean()) < limit


@pytest.mark.parametrize("colour", INKS.values(), ids=INKS.keys())
def test_ink_on_a_transparent_canvas_is_ink_whatever_its_colour(colour: Colour) -> None:
    drawing = drawn(INK, colour)
    for source in (drawing, encoded(drawing), np.asarray(drawing), drawing.convert("RGBa")):
        np.testing.assert_array_equal(prepare(source), EXPECTED)


@pytest.mark.parametrize("colour", [WHITE, BLACK])
def test_a_drawing_with_few_colours_and_a_transparent_one(colour: Colour) -> None:
    drawing = drawn(np.where(INK > 127, 255, 0).astype(np.uint8), colour)
    for file in (encoded(drawing, "GIF"), encoded(drawing.quantize(4, Image.Quantize.FASTOCTREE))):
        assert looks_like_a_two(file)


@pytest.mark.parametrize("quality", [30, 80])
def test_a_drawing_whose_colours_are_damaged_by_compression(quality: int) -> None:
    assert looks_like_a_two(encoded(drawn(INK, WHITE), "WEBP", quality=quality))


def test_colours_that_were_multiplied_by_alpha_change_nothing() -> None:
    assert looks_like_a_two(encoded(drawn(INK, INK[..., None])))


def test_ink_of_many_colours_is_whole() -> None:
    rainbow = GRADIENT * np.array([1, 0.5, 0]) + np.array([0, 100, 50])
    for colours in (rainbow, np.repeat(GRADIENT, 3, axis=2)):
        assert looks_like_a_two(encoded(drawn(INK, colours)))


@pytest.mark.parametrize("colour", [WHITE, BLACK])
def test_pale_ink_and_ink_on_a_tinted_canvas(colour: Colour) -> None:
    pale = drawn((INK * 0.4).astype(np.uint8), colour)
    assert looks_like_a_two(pale)
    tinted = Image.new("RGBA", (240, 240), (0, 0, 0, 77))
    tinted.alpha_composite(drawn(INK, colour))
    assert looks_like_a_two(tinted)


@pytest.mark.parametrize("colour", [WHITE, BLACK])
def test_a_hole_in_a_sheet_is_ink(colour: Colour) -> None:
    assert looks_like_a_two(drawn(255 - INK, colour))


@pytest.mark.parametrize(("fill", "outline"), [(WHITE, BLACK), (BLACK, WHITE)])
def test_a_digit_with_an_outline_is_the_digit(fill: Colour, outline: Colour) -> None:
    wider = np.asarray(Image.fromarray(INK).filter(ImageFilter.MaxFilter(9)))
    sticker = drawn(wider, outline)
    sticker.alpha_composite(drawn(INK, fill))
    assert looks_like_a_two(sticker, limit=12)


def test_a_white_eraser_is_paper() -> None:
    drawing = drawn(INK, BLACK)
    pen = ImageDraw.Draw(drawing)
    pen.line((20, 30, 20, 210), fill=(0, 0, 0, 255), width=8)
    pen.line((20, 20, 20, 220), fill=(255, 255, 255, 255), width=24)
    assert looks_like_a_two(drawing)


@pytest.mark.parametrize(("paper", "colour"), PAPERS.values(), ids=PAPERS.keys())
@pytest.mark.parametrize("alpha", [255, 128, 1, 0])
def test_where_alpha_is_the_same_everywhere_it_says_nothing(paper: Colour, colour: Colour, alpha: int) -> None:
    """In arrays it is often 0 or 1, because nobody has filled it, or because it came from 0.0 to 1.0."""
    opaque = page(paper, colour)
    veiled = np.dstack((np.asarray(opaque), np.full((240, 240), alpha, np.uint8)))
    np.testing.assert_array_equal(read_grey(veiled), read_grey(opaque))


def margin(image: Image.Image) -> Image.Image:
    wide = Image.new("RGBA", (360, 360))
    wide.paste(image, (60, 60))
    return wide


def shadow(image: Image.Image) -> Image.Image:
    """A window as a screenshot has it."""
    dark = Image.new("L", (360, 360))
    ImageDraw.Draw(dark).rectangle((60, 70, 300, 310), fill=110)
    wide = drawn(np.asarray(dark.filter(ImageFilter.GaussianBlur(12))), BLACK)
    wide.alpha_composite(image.convert("RGBA"), (60, 60))
    return wide


def cut(image: Image.Image, kind: str) -> Image.Image:
    mask = Image.new("L", image.size)
    pen = ImageDraw.Draw(mask)
    match kind:
        case "rounded":
            pen.rounded_rectangle((0, 0, 239, 239), 40, fill=255)
        case "disc":
            pen.ellipse((2, 2, 237, 237), fill=255)
        case "tilted":
            pen.polygon([(20, 0), (239, 20), (220, 239), (0, 220)], fill=255)
        case "soft":
            pen.rectangle((16, 16, 223, 223), fill=255)
            mask = mask.filter(ImageFilter.GaussianBlur(8))
    image = image.copy()
    image.putalpha(mask)
    return image


@pytest.mark.parametrize(("paper", "colour"), PAPERS.values(), ids=PAPERS.keys())
@pytest.mark.parametrize("kind", ["margin", "shadow", "rounded", "disc", "tilted", "soft"])
def test_a_page_with_a_transparent_edge_is_read_as_a_page(kind: str, paper: Colour, colour: Colour) -> None:
    whole = page(paper, colour)
    match kind:
        case "margin":
            edged = margin(whole)
        case "shadow":
            edged = shadow(whole)
        case _:
            edged = cut(whole, kind)
    assert looks_like_a_two(encoded(edged), limit=10)


@pytest.mark.parametrize("colour", [WHITE, BLACK])
def test_an_empty_canvas_and_an_empty_sheet_are_empty_pages(colour: Colour) -> None:
    for alpha in (0, 255):
        assert not prepare(drawn(np.full((90, 90), alpha, np.uint8), colour)).any()
