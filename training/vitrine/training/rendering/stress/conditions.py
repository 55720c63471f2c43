"""Rendering conditions: one function each, from an MNIST digit to the bytes of an image file.

Each takes all random numbers from the given generator. A person still reads every digit easily; the docs show examples
of all conditions.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.random import Generator

from vitrine.training.rendering.stress import scene
from vitrine.training.rendering.stress.scene import BLACK_INK, BLUE_INK, TABLES, WHITE, Colour, Picture, Size
from vitrine.training.rendering.stress.strokes import Digit, Strokes, fine_pen_strokes, marker_strokes, pen_strokes

Condition: TypeAlias = Callable[[Digit, Generator], bytes]
"""Renders a digit as an image file."""

ASPECT_RATIOS = ((3, 4), (4, 3), (1, 1), (9, 16))
"""Height to width."""


def clean(digit: Digit, random: Generator) -> bytes:  # noqa: ARG001 - nothing about it is random
    """MNIST's original 28 × 28 pixels, the baseline for all other conditions."""
    return scene.encode_png(np.repeat(digit[..., None], 3, axis=2).astype(np.float32))


def drawing(digit: Digit, random: Generator) -> bytes:
    """Black on white, as from a drawing program."""
    size = _size(random, 200, 900)
    return scene.encode_png(_written_page(digit, np.full((*size, 3), 255, np.float32), random, colour=(0, 0, 0)))


def thin_pen(digit: Digit, random: Generator) -> bytes:
    """Strokes one pixel wide on a sheet 300 to 1,200 pixels wide."""
    size = _size(random, 300, 1200)
    side = _side(size, random)
    paper = np.full((*size, 3), 255, np.float32)
    return scene.encode_png(_put_strokes(paper, fine_pen_strokes(digit, side, 1), random, (0, 0, 0)))


def thick_marker(digit: Digit, random: Generator) -> bytes:
    """A felt marker: strokes 3.8 to 4.5 MNIST pixels wide, where 2.5 are usual."""
    size = _size(random, 240, 1000)
    strokes = marker_strokes(digit, _side(size, random), float(random.uniform(3.8, 4.5)))
    return scene.encode_jpeg(_put_strokes(scene.paper_sheet(size, WHITE, random), strokes, random, (20, 20, 24)))


def light_on_dark(digit: Digit, random: Generator) -> bytes:
    """Chalk on an unevenly wiped board, lit from one side."""
    size = _size(random, 240, 1200)
    board: Colour = (34, 66, 54) if random.random() < 0.5 else (44, 46, 50)
    chalk = _written_page(digit, scene.paper_sheet(size, board, random, grain=5), random, colour=(222, 224, 214))
    return scene.encode_jpeg(scene.light(chalk, 0.6, random))


def blue_pen(digit: Digit, random: Generator) -> bytes:
    """Blue ballpoint on cream paper, sometimes pale."""
    size = _size(random, 240, 1200)
    pale = float(random.uniform(0, 0.45))
    colour = _blended(BLUE_INK, (240, 234, 218), pale)
    paper = scene.paper_sheet(size, (240, 234, 218), random, grain=3)
    return scene.encode_jpeg(_written_page(digit, paper, random, colour=colour))


def coloured_paper(digit: Digit, random: Generator) -> bytes:
    """Black or blue ink on yellow, pink, green, blue or brown paper."""
    size = _size(random, 240, 1200)
    colours = ((250, 222, 90), (244, 158, 186), (140, 206, 140), (130, 180, 226), (186, 144, 102))
    paper = scene.paper_sheet(size, colours[random.integers(len(colours))], random, grain=3)
    ink = BLACK_INK if random.random() < 0.5 else BLUE_INK
    return scene.encode_jpeg(_written_page(digit, paper, random, colour=ink))


def off_centre(digit: Digit, random: Generator) -> bytes:
    """A small digit anywhere on a large sheet: its field takes 15 to 30 % of the shorter side."""
    size = _size(random, 500, 1600)
    paper = scene.paper_sheet(size, WHITE, random, grain=2)
    return scene.encode_jpeg(_written_page(digit, paper, random, share=(0.15, 0.3)))


def any_size(digit: Digit, random: Generator) -> bytes:
    """40 to 4,000 pixels wide, as PNG."""
    size = _size(random, 40, 4000)
    picture = np.full((*size, 3), WHITE, np.float32)
    return scene.encode_png(_written_page(digit, picture, random, share=(0.75, 1.0)))


def uneven_light(digit: Digit, random: Generator) -> bytes:
    """A lamp or window on one side: the far side gets 30 to 60 % of the light."""
    size = _size(random, 240, 1200)
    page = _written_page(digit, scene.paper_sheet(size, WHITE, random), random)
    return scene.encode_jpeg(scene.light(page, float(random.uniform(0.3, 0.6)), random))


def cast_shadow(digit: Digit, random: Generator) -> bytes:
    """A shadow with a sharp or soft edge over a part of the sheet."""
    size = _size(random, 240, 1200)
    page = _written_page(digit, scene.paper_sheet(size, WHITE, random), random)
    depth, softness = float(random.uniform(0.3, 0.6)), float(random.uniform(0.02, 0.3))
    return scene.encode_jpeg(scene.shadow(page, depth, softness, random))


def paper_border(digit: Digit, random: Generator) -> bytes:
    """A slightly rotated sheet with the table visible around it."""
    size = _size(random, 300, 1200)
    page = _written_page(digit, scene.paper_sheet(size, WHITE, random), random, share=(0.4, 0.75))
    return scene.encode_jpeg(scene.lay_on_table(page, TABLES[random.integers(len(TABLES))], random))


def lined_paper(digit: Digit, random: Generator) -> bytes:
    """Ruled or squared paper; its printed lines are paler than the ink."""
    size = _size(random, 300, 1200)
    colours: tuple[Colour, ...] = ((178, 200, 226), (196, 198, 202), (226, 190, 190))
    spacing = round(min(size) * float(random.uniform(0.08, 0.25)))
    paper = scene.paper_sheet(size, WHITE, random)
    colour, squared = colours[random.integers(len(colours))], bool(random.random() < 0.5)
    ruled = scene.draw_ruling(paper, spacing, colour, squared=squared)
    return scene.encode_jpeg(_written_page(digit, ruled, random))


def jpeg_noise(digit: Digit, random: Generator) -> bytes:
    """Strong JPEG compression, quality 5 to 15."""
    size = _size(random, 120, 500)
    page = _written_page(digit, scene.paper_sheet(size, WHITE, random, grain=4), random)
    return scene.encode_jpeg(page, int(random.integers(5, 16)))


def blurred(digit: Digit, random: Generator) -> bytes:
    """Out of focus, by about half a stroke's width to a full one."""
    size = _size(random, 160, 800)
    side = _side(size, random)
    page = _put_strokes(scene.paper_sheet(size, WHITE, random), pen_strokes(digit, side), random, BLACK_INK)
    return scene.encode_jpeg(scene.blur(page, side / 28 * float(random.uniform(0.7, 1.4))))


def noisy_sensor(digit: Digit, random: Generator) -> bytes:
    """Dim light and a small sensor: noise with a standard deviation of 12 to 25 grey levels."""
    size = _size(random, 160, 1000)
    page = 0.65 * _written_page(digit, scene.paper_sheet(size, WHITE, random), random)
    return scene.encode_jpeg(scene.sensor_noise(page, float(random.uniform(12, 25)), random))


def phone_photo(digit: Digit, random: Generator) -> bytes:
    """Everything combined: any pen, sheet on a table, lamp, shadow, noise and blur, 2 to 12 megapixels."""
    size = (900, 1200) if random.random() < 0.5 else (1200, 900)
    page = _written_page(digit, _random_paper(size, random), random, share=(0.3, 0.7), colour=_random_ink(random))
    table = scene.lay_on_table(page, TABLES[random.integers(len(TABLES))], random)
    lit = scene.light(table, float(random.uniform(0.5, 0.8)), random)
    dim = scene.shadow(lit, float(random.uniform(0.2, 0.45)), float(random.uniform(0.05, 0.3)), random)
    soft = scene.blur(dim, float(random.uniform(0.4, 2)))
    width = round(size[1] * (10 / 3 if random.random() < 0.25 else 4 / 3))
    return scene.encode_jpeg(scene.sensor_noise(scene.enlarge(soft, width), float(random.uniform(2, 9)), random), 80)


def tight_crop(digit: Digit, random: Generator) -> bytes:
    """Cut out by the digit's box, without any paper around it, in both polarities."""
    strokes = pen_strokes(digit, int(random.integers(60, 561)))
    inked = strokes > 0.02
    rows, columns = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
    tight = strokes[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    paper, ink = _two_levels(random)
    page = np.full((*tight.shape, 3), paper, np.float32)
    return scene.encode_png(scene.draw_strokes(page, tight, (0, 0), (ink, ink, ink)))


def boxed(digit: Digit, random: Generator) -> bytes:
    """In a box of 1 to 6 pixels with up to two sides missing, as in forms; at the image's edge or within a page."""
    side, width = int(random.integers(48, 401)), int(random.integers(1, 7))
    paper, ink = _two_levels(random)
    box = np.full((side, side, 3), ink, np.float32)
    missing = random.permutation(4)[: random.integers(3)]
    top, bottom, left, right = (0 if place in missing else width for place in range(4))
    inside = box[top : side - bottom, left : side - right]
    inside[:] = _written_page(digit, np.full_like(inside, paper), random, share=(0.7, 0.85), colour=(ink, ink, ink))
    margin = 0 if random.random() < 0.5 else int(random.integers(2, side // 2))
    return scene.encode_png(np.pad(box, ((margin, margin), (margin, margin), (0, 0)), constant_values=paper))


def screenshot(digit: Digit, random: Generator) -> bytes:
    """A canvas in a page of the other polarity, with 30 to 140 pixels of page on each side."""
    side = int(random.integers(84, 301))
    paper, ink = _two_levels(random)
    canvas = _written_page(digit, np.full((side, side, 3), paper, np.float32), random, colour=(ink, ink, ink))
    top, bottom, left, right = (int(margin) for margin in random.integers(30, 141, 4))
    return scene.encode_png(np.pad(canvas, ((top, bottom), (left, right), (0, 0)), constant_values=ink))


CONDITIONS: Mapping[str, Condition] = {
    condition.__name__: condition
    for condition in (
        *(clean, drawing, thin_pen, thick_marker, light_on_dark, blue_pen, coloured_paper, off_centre, any_size),
        *(uneven_light, cast_shadow, paper_border, lined_paper, jpeg_noise, blurred, noisy_sensor, phone_photo),
        *(tight_crop, boxed, screenshot),
    )
}
"""All conditions by name, in the order of the tables."""


def render(condition: str, digit: Digit, seed: int, number: int) -> bytes:
    """Renders a digit as image file `number` of a condition; the same arguments give the same bytes.

    Args:
        condition: a name in `CONDITIONS`.
        digit: uint8 (28, 28), 0 = paper, 255 = ink.
        seed: 0 or more.
        number: position in the stress set, 0 or more.
    """
    return CONDITIONS[condition](digit, np.random.default_rng([zlib.crc32(condition.encode()), seed, number]))


def _two_levels(random: Generator) -> tuple[float, float]:
    """The grey levels of paper and ink, in either polarity."""
    return (255, 0) if random.random() < 0.5 else (0, 255)


def _size(random: Generator, least: int, most: int) -> Size:
    """Height and width. The logarithm of the width is uniform between `least` and `most`."""
    width = round(least * (most / least) ** float(random.random()))
    high, wide = ASPECT_RATIOS[random.integers(len(ASPECT_RATIOS))]
    return round(width * high / wide), width


def _side(size: Size, random: Generator, share: tuple[float, float] = (0.55, 0.95)) -> int:
    """Side of the digit's field, from its share of the page's shorter side. The digit itself takes 5/7 of the field."""
    return max(round(min(size) * float(random.uniform(*share))), 20)


def _written_page(
    digit: Digit,
    page: Picture,
    random: Generator,
    *,
    share: tuple[float, float] = (0.55, 0.95),
    colour: Colour = BLACK_INK,
) -> Picture:
    """The digit, written with an ordinary pen at a random position on the page."""
    side = _side((page.shape[0], page.shape[1]), random, share)
    return _put_strokes(page, pen_strokes(digit, side), random, colour)


def _put_strokes(page: Picture, strokes: Strokes, random: Generator, colour: Colour) -> Picture:
    rows, columns = (max(length - len(strokes), 0) for length in page.shape[:2])
    strokes = strokes[: page.shape[0], : page.shape[1]]
    corner = (int(random.integers(rows + 1)), int(random.integers(columns + 1)))
    return scene.draw_strokes(page, strokes, corner, colour)


def _blended(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = ((1 - share) * a + share * b for a, b in zip(one, other, strict=True))
    return red, green, blue


def _random_paper(size: Size, random: Generator) -> Picture:
    papers: tuple[Colour, ...] = (WHITE, WHITE, (240, 234, 218), (250, 226, 120), (214, 232, 246))
    paper = scene.paper_sheet(size, papers[random.integers(len(papers))], random)
    if random.random() < 0.25:
        return scene.draw_ruling(paper, round(min(size) * 0.1), (190, 204, 224), squared=bool(random.random() < 0.5))
    return paper


def _random_ink(random: Generator) -> Colour:
    inks: tuple[Colour, ...] = (BLACK_INK, BLUE_INK, (120, 120, 124), (170, 36, 44))
    return inks[random.integers(len(inks))]
