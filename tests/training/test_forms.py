"""Forms are what their names say, written a little differently each time, and readable with any pen."""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest

from vitrine.model.preparation.blobs import Blobs
from vitrine.training.pens import Pen, draw, draw_by_chance
from vitrine.training.rendering.forms import FORMS, write_form
from vitrine.training.rendering.forms_sheet import CELL, GAP, MARGIN, draw_forms
from vitrine.training.rendering.skeletons import ellipse, write

SAMPLES = 40
"""Drawings of a form that are counted."""


def samples(name: str) -> list[list[npt.NDArray[np.float64]]]:
    random = np.random.default_rng(7)
    return [write_form(name, random) for _ in range(SAMPLES)]


def holes(strokes: list[npt.NDArray[np.float64]]) -> int:
    """Number of parts of the paper that the ink encloses, without those of a few pixels."""
    drawing = draw(strokes, Pen(0.03), 96, np.random.default_rng(0))
    paper = np.where(drawing > 60, 0, 255).astype(np.uint8)
    return int((Blobs.of(paper, 127).area > 6).sum()) - 1  # one of them lies around the ink


def test_there_are_forms_of_every_digit_in_their_order() -> None:
    digits = [form.digit for form in FORMS.values()]
    assert set(digits) == set(range(10))
    assert digits == sorted(digits)
    assert all(name.startswith(f"{form.digit} ") for name, form in FORMS.items())


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_written_at_its_height_in_strokes_of_points(name: str) -> None:
    for strokes in samples(name):
        assert strokes
        points = np.concatenate(strokes)
        assert all(stroke.ndim == 2 and stroke.shape[1] == 2 for stroke in strokes)
        assert np.isfinite(points).all()
        width, height = points.max(axis=0) - points.min(axis=0)
        assert 0.8 < height < 1.35
        assert width < 1.5 * height


@pytest.mark.parametrize("name", FORMS)
def test_the_same_random_numbers_write_the_same_and_others_do_not(name: str) -> None:
    first, second, other = (write_form(name, np.random.default_rng(seed)) for seed in (1, 1, 2))
    for one, same in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, same)
    assert any(one.shape != another.shape or (one != another).any() for one, another in zip(first, other, strict=False))


@pytest.mark.parametrize("name", FORMS)
def test_every_form_can_be_drawn_with_any_pen(name: str) -> None:
    random = np.random.default_rng(3)
    for _ in range(10):
        drawing = draw_by_chance(write_form(name, random), random)
        assert drawing.max() > 100
        assert 0.005 < (drawing > 60).mean() < 0.7


HOLES = {
    "0 with slash": {2, 3},
    "1 with curl": {0},
    "1 with upstroke": {0},
    "1 leaning right": {0},
    "1 with upstroke and foot": {0},
    "2 with loop": {1},
    "3 with flat top": {0},
    "3 with loop": {1},
    "4 closed": {1},
    "4 leaning right": {0},
    "4 open": {0},
    "4 rounded": {0},
    "5 with flag": {0},
    "5 rounded": {0},
    "6 straight": {1},
    "7 with bar": {0},
    "7 with hook": {0},
    "7 with rising top": {0},
    "8 of two rings": {2},
    "8 open": {1},
    "9 open": {0},
    "9 with looped tail": {1, 2},
}
"""Holes of the forms that have a known number of them; hands are unsteady, so not every drawing has them."""


@pytest.mark.parametrize("name", HOLES)
def test_a_form_encloses_the_holes_that_it_should(name: str) -> None:
    found = Counter(holes(strokes) for strokes in samples(name))
    assert sum(found[count] for count in HOLES[name]) >= 0.6 * SAMPLES, found


@pytest.mark.parametrize("name", ["1 with upstroke", "1 leaning right", "1 with upstroke and foot"])
def test_an_upstroke_rises_to_the_top_of_the_stem(name: str) -> None:
    for strokes in samples(name):
        stroke = strokes[0]
        top = int(stroke[:, 1].argmin())
        begin, end = stroke[0], stroke[-1]
        assert 0 < top < len(stroke) - 1
        assert begin[0] < stroke[top, 0]
        assert stroke[top, 1] < begin[1] < end[1]


@pytest.mark.parametrize("name", ["1 with foot", "1 with upstroke and foot"])
def test_a_foot_lies_level_under_the_stem(name: str) -> None:
    for stem, foot in samples(name):
        width, height = np.ptp(foot, axis=0)
        assert width > 2 * height
        assert abs(foot[:, 1].mean() - stem[-1, 1]) < 0.15
        assert foot[:, 0].min() < stem[-1, 0] < foot[:, 0].max()


def test_a_slash_crosses_the_middle_of_the_oval() -> None:
    for oval, slash in samples("0 with slash"):
        distance = np.hypot(*(slash - oval.mean(axis=0)).T).min()
        assert distance < 0.15
        assert np.ptp(slash[:, 1]) > 0.3


def test_a_dot_lies_inside_of_the_oval() -> None:
    for oval, dot in samples("0 with dot"):
        (left, top), (right, bottom) = oval.min(axis=0), oval.max(axis=0)
        assert (dot > [left, top]).all()
        assert (dot < [right, bottom]).all()
    assert {len(dot) == 1 for _, dot in samples("0 with dot")} == {True, False}  # dots and short dashes


def test_a_bar_crosses_the_stem_of_the_7() -> None:
    for stem, bar in samples("7 with bar"):
        nearest = stem[np.hypot(*(stem - bar.mean(axis=0)).T).argmin()]
        assert np.hypot(*(bar - nearest).T).min() < 0.1
        assert bar[:, 0].min() < nearest[0] < bar[:, 0].max()


@pytest.mark.parametrize("name", ["9 with curled tail", "9 with looped tail", "9 open"])
def test_a_curled_tail_ends_left_of_the_stem_or_comes_back(name: str) -> None:
    for (stroke,) in samples(name):
        low = stroke[stroke[:, 1].argmax()]
        rightmost = stroke[len(stroke) // 2 :, 0].max()
        assert low[0] < rightmost - 0.03


def test_leaning_fours_lean_further_than_open_ones() -> None:
    def lean(name: str) -> float:
        stems = [strokes[1] for strokes in samples(name)]
        return float(np.mean([(stem[0, 0] - stem[-1, 0]) / (stem[-1, 1] - stem[0, 1]) for stem in stems]))

    assert lean("4 leaning right") > lean("4 open") + 0.2


def test_a_piece_begins_where_the_last_one_ended() -> None:
    (corner,) = write([[[(0, 0), (0, 1)], [(1, 1)]]], np.random.default_rng(0))
    steps = np.hypot(*np.diff(corner, axis=0).T)
    assert steps.max() < 0.2
    np.testing.assert_allclose(corner[-1] - corner[0], [1, 1], atol=0.5)


def test_a_single_point_stays_a_dot() -> None:
    (dot,) = write([[[(0.5, 0.5)]]], np.random.default_rng(0))
    assert dot.shape == (1, 2)


def test_an_ellipse_turns_as_most_hands_do() -> None:
    points = np.array(ellipse((1, 2), (3, 4), points=5))
    np.testing.assert_allclose(points, [[1, -2], [-2, 2], [1, 6], [4, 2], [1, -2]], atol=1e-9)


def test_a_sheet_shows_every_form_in_a_row_of_its_own() -> None:
    sheet = np.asarray(draw_forms(columns=3))
    rows = np.split(sheet, len(FORMS))
    assert sheet.shape[1] == MARGIN + 3 * (CELL + GAP)
    for row in rows:
        assert row[:, :MARGIN].min() < 100  # its name
        for drawing in np.split(row[:, MARGIN:], 3, axis=1):
            assert drawing.min() < 200
    np.testing.assert_array_equal(sheet, np.asarray(draw_forms(columns=3)))
