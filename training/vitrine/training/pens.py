"""Draws the strokes of a pen as ink: round and flat pens, constant and varying widths, from a hairline to a marker.

A pen's tip is an ellipse that moves along the strokes; what it covers becomes ink. The hand's speed follows from the
strokes' bends by the two-thirds power law (F. Lacquaniti, C. Terzuolo and P. Viviani 1983): hands slow down where they
turn. So all sources of strokes get the same pens, however their points are spaced in time. It knows no labels and no
files.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

Strokes: TypeAlias = Sequence[npt.NDArray[np.floating[Any]]]
"""The paths of a pen on the paper, from touch to lift: each (n, 2), x to the right and y downwards, in any unit."""

Drawing: TypeAlias = npt.NDArray[np.uint8]
"""Ink: uint8 (side, side), 0 = paper, 255 = ink."""

Path: TypeAlias = npt.NDArray[np.float64]
"""The places along a stroke: (n, 2)."""

FINE = 384
"""Tips are drawn on a field about so many pixels wide, and averaged over the drawing's pixels."""

STEP = 1 / 48
"""Length of one step of the tip, as a share of the writing's longer side."""

MARGIN = 1.5
"""Paper around the ink on every side, in pixels of the drawing."""

CAP = 5
"""The corners of either end of what a tip covers in one step."""

TOUCHED = 0.4
"""Mean width, in pixels of the field, that Pillow adds around a polygon: it fills each pixel that an edge touches."""

SLOWEST = 0.25
"""The slowest speed, in a corner and at the ends of a stroke, as a share of the fastest."""

GENTLE = 1.5
"""The bend up to which the hand keeps its full speed: one over its radius, in the writing's longer sides."""

RUN_UP = 0.3
"""The way from an end of a stroke to where the hand may have its full speed, in the writing's longer sides."""

END = 0.09
"""The way over which a line's ends are tapered or pooled, in the writing's longer sides."""


SIDES = (28, 64)
"""Smallest and largest side of a drawing by chance, in pixels."""

COARSE_SIDES = (10, 20)
"""The same of a coarse drawing: people also send small images, and enlarge them."""

COARSE_SHARE = 0.125
"""Share of coarse drawings among those by chance."""


@dataclass(frozen=True, slots=True)
class Pen:
    """A pen, and the hand's pressure on it."""

    width: float
    """The tip's longer axis, as a share of the writing's longer side; never less than a pixel of the drawing."""
    flatness: float = 1.0
    """The tip's shorter axis as a share of the longer one: 1 is round, and 0.2 a broad nib."""
    angle: float = 0.0
    """The direction of the tip's longer axis, in radians from the x axis."""
    thinning: float = 0.0
    """Width that the line loses at full speed, as a share of its width, 0 to 1."""
    taper: float = 0.0
    """Width that the line loses at its ends, as a share of its width, 0 to 1."""
    pooling: float = 0.0
    """Width that the line gains at its ends, where wet ink gathers, as a share of its width."""
    fading: float = 0.0
    """Share of the ink that is missing at full speed, 0 to 1."""
    grain: float = 0.0
    """Largest share of the ink that the paper's grain leaves out, 0 to 1."""
    bleed: float = 0.0
    """Distance that ink spreads into the paper, as a share of the width."""


def _ballpoint(random: Generator) -> Pen:
    return Pen(random.uniform(0.03, 0.07), thinning=random.uniform(0, 0.2), fading=random.uniform(0, 0.3))


def _hairline(random: Generator) -> Pen:
    return Pen(random.uniform(0.0, 0.03))


def _felt(random: Generator) -> Pen:
    return Pen(random.uniform(0.06, 0.13), random.uniform(0.75, 1), _any_angle(random), bleed=random.uniform(0, 0.15))


def _marker(random: Generator) -> Pen:
    return Pen(random.uniform(0.12, 0.22), random.uniform(0.6, 1), _any_angle(random))


def _nib(random: Generator) -> Pen:
    angle = math.radians(random.normal(-40, 12))  # rising to the right, as a right hand holds it
    return Pen(random.uniform(0.07, 0.17), random.uniform(0.15, 0.4), angle)


def _fountain(random: Generator) -> Pen:
    return Pen(
        random.uniform(0.05, 0.11),
        thinning=random.uniform(0.2, 0.5),
        pooling=random.uniform(0, 0.5),
        fading=random.uniform(0, 0.3),
        bleed=random.uniform(0, 0.2),
    )


def _brush(random: Generator) -> Pen:
    return Pen(
        random.uniform(0.1, 0.2),
        random.uniform(0.6, 1),
        _any_angle(random),
        thinning=random.uniform(0.2, 0.6),
        taper=random.uniform(0.3, 0.8),
    )


def _pencil(random: Generator) -> Pen:
    return Pen(random.uniform(0.03, 0.08), fading=random.uniform(0.2, 0.5), grain=random.uniform(0.15, 0.5))


def _any_angle(random: Generator) -> float:
    return float(random.uniform(0, math.pi))


PENS: Mapping[str, Callable[[Generator], Pen]] = MappingProxyType(
    {
        "ballpoint": _ballpoint,
        "brush": _brush,
        "felt": _felt,
        "fountain": _fountain,
        "hairline": _hairline,
        "marker": _marker,
        "nib": _nib,
        "pencil": _pencil,
    }
)
"""The kinds of pens; each gives a pen of its kind by chance."""


def random_pen(random: Generator) -> Pen:
    """A pen of any kind, all equally likely."""
    return tuple(PENS.values())[random.integers(len(PENS))](random)


def draw(strokes: Strokes, pen: Pen, side: int, random: Generator) -> Drawing:
    """Draws strokes as large as they fit, their aspect kept, in the middle of the drawing.

    Args:
        strokes: at least one, each of at least one point; a single point becomes a dot.
        pen: what they are drawn with.
        side: the drawing's height and width in pixels.
        random: where the paper's grain comes from.

    Returns:
        uint8 (side, side), 0 = paper, 255 = ink, anti-aliased.
    """
    factor = max(1, round(FINE / side))
    reach = pen.width * (1 + pen.pooling + 2 * pen.bleed)  # the strokes lie in the middle of the ink
    scale = factor * (side - 2 * MARGIN) / (1 + reach)
    field = _Field(side * factor / 2, scale, factor)
    image = Image.new("L", (side * factor, side * factor))
    canvas = ImageDraw.Draw(image)
    for corners, ink in _covered(_normalised(strokes), pen, field):
        canvas.polygon(corners, ink)
    image = image.reduce(factor)
    if pen.bleed:
        image = image.filter(ImageFilter.GaussianBlur(pen.bleed * pen.width * scale / factor))
    return _with_grain(np.asarray(image), pen.grain, random)


def draw_by_chance(strokes: Strokes, random: Generator) -> Drawing:
    """Draws strokes with a pen of any kind, on a drawing of a side of `SIDES`, or sometimes of `COARSE_SIDES`."""
    low, high = COARSE_SIDES if random.random() < COARSE_SHARE else SIDES
    side = int(random.integers(low, high, endpoint=True))
    return draw(strokes, random_pen(random), side, random)


def _normalised(strokes: Strokes) -> list[Path]:
    """The strokes around the origin, the longer side of their box 1; dots stay where they are."""
    points = np.concatenate(strokes).astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    extent = float((high - low).max()) or 1.0
    return [(stroke - (low + high) / 2) / extent for stroke in strokes]


def _even_steps(stroke: Path) -> Path:
    """A stroke's places, `STEP` or a little less apart; the tablet's stairs are smoothed, and both ends stay."""
    lengths = np.hypot(*np.diff(stroke, axis=0).T)  # (n - 1,)
    along = np.concatenate(((0.0,), np.cumsum(lengths)))  # (n,)
    wanted = np.linspace(0, along[-1], 1 + math.ceil(along[-1] / STEP))  # (m,)
    path = np.stack([np.interp(wanted, along, stroke[:, axis]) for axis in (0, 1)], axis=1)  # (m, 2)
    for _ in range(2):
        path[1:-1] = (path[:-2] + 2 * path[1:-1] + path[2:]) / 4
    return path


def _speed(path: Path) -> npt.NDArray[np.float64]:
    """The hand's speed at each place of a path, `SLOWEST` to 1: slow in bends and at both ends; (m,)."""
    if len(path) < 3:
        return np.full(len(path), SLOWEST)
    moves = np.diff(path, axis=0)
    headings = np.arctan2(moves[:, 1], moves[:, 0])
    turns = np.abs((np.diff(headings) + math.pi) % (2 * math.pi) - math.pi)  # (m - 2,)
    bends = np.pad(turns / STEP / GENTLE, 1, mode="edge")
    speed = np.maximum(bends, 1) ** (-1 / 3)
    speed = np.convolve(np.pad(speed, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    return np.clip(np.minimum(speed, SLOWEST + _from_ends(path) / RUN_UP), SLOWEST, 1)


def _from_ends(path: Path) -> npt.NDArray[np.float64]:
    """The way along a path to the nearer of its ends: (m,)."""
    places = np.arange(len(path))
    return STEP * np.minimum(places, places[::-1])


@dataclass(frozen=True, slots=True)
class _Field:
    """The fine field that tips are drawn on, in its own pixels."""

    middle: float
    scale: float
    """The writing's longer side."""
    pixel: float
    """A pixel of the drawing: nothing is thinner."""


def _covered(paths: list[Path], pen: Pen, field: _Field) -> list[tuple[list[float], int]]:
    """The area that the tip covers in each step: a polygon's corners, x and y by turns, and its ink, the palest first.

    A round tip covers two half discs and what lies between them. A flat tip does so in a plane that is stretched until
    the tip is round.
    """
    width = max(pen.width * field.scale, field.pixel)
    tip = _turn(pen.angle) * (1, max(pen.flatness, field.pixel / width))  # (2, 2): round to flat, for columns (x, y)
    steps, darkness = [], []
    for path in map(_even_steps, paths):
        speed, ending = _speed(path), np.exp(-_from_ends(path) / END)
        radii = width / 2 * (1 - pen.thinning * speed) * (1 + (pen.pooling - pen.taper) * ending)
        radii = np.maximum(radii, field.pixel / 2) - TOUCHED
        discs = np.column_stack((field.scale * path @ np.linalg.inv(tip).T, radii))
        steps.append(np.hstack((discs[:-1], discs[1:])) if len(discs) > 1 else np.hstack((discs, discs)))
        darkness.append(255 * (1 - pen.fading * speed[-len(steps[-1]) :]))
    corners = _capsules(np.concatenate(steps)) @ tip.T + field.middle - 0.5  # (S, C, 2); Pillow counts from middles
    ink = np.rint(np.concatenate(darkness)).astype(int)
    order = np.argsort(ink, kind="stable")
    return list(zip(corners[order].reshape(len(order), -1).tolist(), ink[order].tolist(), strict=True))


def _capsules(steps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The outlines around pairs of discs: (S, 6), x, y and radius of both, to (S, 2 `CAP`, 2)."""
    headings = np.arctan2(steps[:, 4] - steps[:, 1], steps[:, 3] - steps[:, 0])[:, None]  # (S, 1)
    half = np.linspace(-math.pi / 2, math.pi / 2, CAP)
    angles = headings + np.concatenate((half + math.pi, half))  # (S, 2 CAP)
    discs = np.repeat(steps.reshape(-1, 2, 3), CAP, axis=1)  # (S, 2 CAP, 3)
    outlines: npt.NDArray[np.float64] = discs[..., :2] + discs[..., 2:] * np.dstack((np.cos(angles), np.sin(angles)))
    return outlines


def _turn(angle: float) -> npt.NDArray[np.float64]:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _with_grain(ink: Drawing, grain: float, random: Generator) -> Drawing:
    """Ink with the paper's grain in it: some of each pixel's is left out by chance."""
    if not grain:
        return ink
    return (ink * (1 - grain * random.random(ink.shape, np.float32))).astype(np.uint8)
