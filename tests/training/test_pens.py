"""Pens draw strokes as ink of the width and the shape that they say, the same ones for the same random numbers."""

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from vitrine.model import prepare
from vitrine.model.preparation.pen import stroke_width
from vitrine.model.preparation.pipeline import find_box
from vitrine.training.data.originals import Originals
from vitrine.training.pens import (
    COARSE_SHARE,
    COARSE_SIDES,
    PENS,
    SIDES,
    Drawing,
    Pen,
    draw,
    draw_by_chance,
    random_pen,
)


def line(*points: tuple[float, float]) -> list[npt.NDArray[np.float64]]:
    return [np.array(points, np.float64)]


DOWN, ACROSS = line((0, 0), (0, 100)), line((0, 0), (100, 0))
RING = [np.stack([np.cos(angles), np.sin(angles)], axis=1) for angles in [np.linspace(0, 2 * math.pi, 80)]]
CORNER = line((0, 0), (100, 0), (100, 100))


def drawn(strokes: list[npt.NDArray[np.float64]], pen: Pen, side: int = 64, seed: int = 0) -> Drawing:
    return draw(strokes, pen, side, np.random.default_rng(seed))


def width_across(drawing: Drawing) -> float:
    """The width of a line downwards at its middle, in pixels."""
    return float(drawing[len(drawing) // 2].sum() / 255)


@pytest.mark.parametrize("kind", PENS)
@pytest.mark.parametrize("side", [28, 45, 96])
def test_every_pen_draws_ink_inside_of_its_paper(kind: str, side: int) -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        drawing = draw(RING, PENS[kind](random), side, random)
        assert drawing.shape == (side, side)
        assert drawing.dtype == np.uint8
        assert drawing.max() > 100
        frame = np.concatenate((drawing[0], drawing[-1], drawing[:, 0], drawing[:, -1]))
        assert frame.max() < 64  # a wet pen may bleed as far, but never draws there


@pytest.mark.parametrize("kind", PENS)
def test_the_same_random_numbers_draw_the_same_ink(kind: str) -> None:
    first, second, other = (np.random.default_rng(seed) for seed in (1, 1, 2))
    drawings = [draw(CORNER, PENS[kind](random), 40, random) for random in (first, second, other)]
    np.testing.assert_array_equal(drawings[0], drawings[1])
    assert (drawings[0] != drawings[2]).any()


def test_chance_chooses_every_kind_of_pen_and_every_side() -> None:
    random = np.random.default_rng(0)
    sides = [len(draw_by_chance(DOWN, random)) for _ in range(600)]
    coarse = [side for side in sides if side <= COARSE_SIDES[1]]
    assert {*sides} == {*range(SIDES[0], SIDES[1] + 1), *range(COARSE_SIDES[0], COARSE_SIDES[1] + 1)}
    assert 0.5 * COARSE_SHARE < len(coarse) / len(sides) < 1.5 * COARSE_SHARE
    pens = [random_pen(random) for _ in range(200)]
    assert min(pen.width for pen in pens) < 0.02
    assert max(pen.width for pen in pens) > 0.2
    assert {bool(pen.grain) for pen in pens} == {bool(pen.taper) for pen in pens} == {True, False}


@pytest.mark.parametrize("side", [28, 64, 96])
@pytest.mark.parametrize("width", [0.06, 0.12, 0.22])
def test_a_line_is_as_wide_as_its_pen(side: int, width: float) -> None:
    expected = width * (side - 3) / (1 + width)
    assert width_across(drawn(DOWN, Pen(width), side)) == pytest.approx(expected, abs=0.3)


@pytest.mark.parametrize("side", [28, 64, 96])
def test_no_line_is_thinner_than_a_pixel(side: int) -> None:
    assert width_across(drawn(DOWN, Pen(0.0), side)) == pytest.approx(1, abs=0.3)
    assert width_across(drawn(DOWN, Pen(0.001, thinning=1, taper=1), side)) == pytest.approx(1, abs=0.3)


def test_a_flat_pen_is_thin_along_its_edge_and_wide_across() -> None:
    nib = Pen(0.2, flatness=0.2, angle=0.0)  # it lies along the x axis
    down, across = drawn(DOWN, nib), drawn(ACROSS, nib)
    assert width_across(down) == pytest.approx(0.2 * 61 / 1.2, abs=0.5)
    assert width_across(across.T) == pytest.approx(0.04 * 61 / 1.2, abs=0.5)


def test_an_angle_turns_a_flat_pen() -> None:
    rising = Pen(0.2, flatness=0.2, angle=math.radians(-45))
    along, against = drawn(line((0, 1), (1, 0)), rising), drawn(line((0, 0), (1, 1)), rising)
    assert against.sum() > 2.5 * along.sum()


def test_a_round_pen_draws_the_same_at_every_angle() -> None:
    drawings = [drawn(CORNER, Pen(0.1, angle=angle)).astype(int) for angle in (0.0, 1.0)]
    assert np.abs(drawings[0] - drawings[1]).mean() < 2


def test_ink_pools_where_the_pen_stops() -> None:
    pooled = drawn(DOWN, Pen(0.06, pooling=1.0))
    widths = pooled.sum(axis=1) / 255
    assert widths[2:12].max() > 1.5 * widths[32]
    assert widths[-12:-2].max() > 1.5 * widths[32]


def test_a_tapered_line_is_thin_at_its_ends() -> None:
    widths = drawn(DOWN, Pen(0.15, taper=0.8)).sum(axis=1) / 255
    assert widths[8] < 0.7 * widths[32] > widths[-9]


def test_speed_thins_straight_lines_and_not_corners() -> None:
    plain, thinned = (drawn(CORNER, Pen(0.1, thinning=thinning)) for thinning in (0.0, 0.6))
    lost = plain.astype(int) - thinned
    middle, corner = lost[:10, 25:40].sum(), lost[:10, -12:].sum()
    assert middle > corner > 0


def test_speed_fades_ink() -> None:
    faded = drawn(DOWN, Pen(0.2, fading=0.5))
    assert faded[32].max() == pytest.approx(128, abs=3)
    assert faded[4:10].max() > 180


def test_grain_leaves_paper_in_the_ink() -> None:
    grainy = drawn(ACROSS, Pen(0.3, grain=0.5))[30:34, 20:44]
    assert grainy.std() > 20
    assert grainy.min() >= 127


def test_bleeding_softens_edges() -> None:
    sharp, soft = (drawn(DOWN, Pen(0.2, bleed=bleed))[32] for bleed in (0.0, 0.3))
    assert np.abs(np.diff(soft.astype(int))).max() < np.abs(np.diff(sharp.astype(int))).max()
    assert soft.sum() == pytest.approx(sharp.sum() * 1.2 / 1.32, rel=0.04)  # smaller, as bleeding needs room


def test_edges_are_anti_aliased() -> None:
    ring = drawn(RING, Pen(0.1), 28)
    assert len(np.unique(ring)) > 20


def test_the_unit_and_the_place_of_strokes_do_not_matter() -> None:
    moved = [1000 * stroke + [5000, -300] for stroke in RING]
    np.testing.assert_array_equal(drawn(RING, Pen(0.1)), drawn(moved, Pen(0.1)))


def test_the_spacing_of_points_does_not_matter() -> None:
    pen = Pen(0.1, thinning=0.5)
    fine = line(*[(0, y) for y in np.linspace(0, 100, 300)])
    assert np.abs(drawn(DOWN, pen).astype(int) - drawn(fine, pen)).max() < 10


def test_writing_keeps_its_aspect_and_its_middle() -> None:
    box = np.argwhere(drawn(line((0, 0), (50, 0), (50, 100), (0, 100), (0, 0)), Pen(0.05), 96) > 127)
    (top, left), (bottom, right) = box.min(axis=0), box.max(axis=0)
    assert (right - left) / (bottom - top) == pytest.approx(0.52, abs=0.04)
    assert (top + bottom) / 2 == pytest.approx(47.5, abs=1)
    assert (left + right) / 2 == pytest.approx(47.5, abs=1)


@pytest.mark.parametrize("strokes", [line((3, 4)), line((3, 4), (3, 4)), line((3, 4), (3, 4), (3, 4), (3, 4))])
def test_a_point_becomes_a_dot(strokes: list[npt.NDArray[np.float64]]) -> None:
    dot = drawn(strokes, Pen(0.2, thinning=0.5, fading=0.5, taper=0.5, pooling=0.5), 28) > 100
    assert dot.sum() >= 4
    ys, xs = np.nonzero(dot)
    assert abs(ys.mean() - 13.5) < 1 > abs(xs.mean() - 13.5)


def test_stairs_of_a_coarse_tablet_are_smoothed() -> None:
    stairs = line(*[point for x in range(40) for point in ((x, x), (x + 1, x))])
    straight = line((0, 0), (40, 40))
    assert np.abs(drawn(stairs, Pen(0.05)).astype(int) - drawn(straight, Pen(0.05))).mean() < 4


def test_wider_pens_give_wider_strokes_on_the_whole() -> None:
    widths = [stroke_width(drawn(RING, Pen(width))) for width in (0.0, 0.05, 0.1, 0.15, 0.2)]
    assert all(a < b for a, b in pairwise(widths))


def test_drawings_are_prepared_and_become_originals_as_other_images_do() -> None:
    random = np.random.default_rng(0)
    drawings = [draw_by_chance(RING, random) for _ in range(20)]
    originals = Originals.of_boxes([find_box(drawing) for drawing in drawings])
    assert len(originals) == 20
    for drawing in drawings:
        pixels = prepare(drawing)
        assert pixels.max() == 255
        assert pixels[8:10, 8:10].max() < 100  # the ring stays open
