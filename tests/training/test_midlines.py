"""Middle lines: shapes are thinned, and followed from end to end, into skeletons that a hand can write."""

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw

from vitrine.training.pens import draw_by_chance
from vitrine.training.rendering.midlines import skeleton_of
from vitrine.training.rendering.nondigits.fonts import bundled_fonts, glyph
from vitrine.training.rendering.skeletons import write


def drawn(*lines: list[tuple[int, int]], width: int = 9) -> npt.NDArray[np.bool_]:
    image = Image.new("1", (100, 100))
    for line in lines:
        ImageDraw.Draw(image).line(line, 1, width)
    return np.asarray(image)


def test_a_bar_becomes_one_stroke_from_end_to_end() -> None:
    ((points,),) = skeleton_of(drawn([(50, 10), (50, 90)]))
    x, y = np.array(points).T
    assert np.ptp(x) < 0.1
    assert np.ptp(y) > 0.85
    assert (np.diff(y) > 0).all() or (np.diff(y) < 0).all()


def test_a_cross_becomes_strokes_that_meet_and_a_ring_one_that_closes() -> None:
    cross = skeleton_of(drawn([(50, 5), (50, 95)], [(5, 50), (95, 50)]))
    assert len(cross) >= 4
    assert all(np.hypot(*(np.array([piece[0], piece[-1]]) - 0.5).T).min() < 0.1 for (piece,) in cross)
    image = Image.new("1", (100, 100))
    ImageDraw.Draw(image).ellipse((10, 10, 90, 90), outline=1, width=9)
    ((ring,),) = skeleton_of(np.asarray(image))
    assert np.hypot(*np.subtract(ring[0], ring[-1])) < 0.05
    assert len(ring) > 12


def test_a_dot_stays_a_dot() -> None:
    ink = drawn([(50, 40), (50, 95)])
    ink = ink | drawn([(47, 8), (53, 8)], width=7)
    assert len(skeleton_of(ink)) == 2


@pytest.mark.parametrize("letter", "AKQaegkmxβδξΩЖЯ")
def test_the_middle_lines_of_a_printed_letter_cover_its_height_and_width(letter: str) -> None:
    ink = glyph(letter, bundled_fonts(("DejaVuSans",))[0]) > 127
    skeleton = skeleton_of(ink)
    points = np.concatenate([piece for (piece,) in skeleton])
    rows, columns = (np.ptp(axis) for axis in ink.nonzero())
    assert np.ptp(points, axis=0) == pytest.approx(np.array([columns, rows]) / max(rows, columns), abs=0.16)
    random = np.random.default_rng(0)
    assert draw_by_chance(write(skeleton, random), random).max() > 100
