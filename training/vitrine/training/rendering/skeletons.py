"""Skeletons: the lines of a character before a hand writes them, as corners and as points that curves go through.

A stroke consists of smooth pieces. Each piece begins where the piece before it ends, and the two form a corner there.
It knows no character: `forms` has those.
"""

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from vitrine.training.rendering.splines import smooth

Point: TypeAlias = tuple[float, float]
"""A place: x to the right, and y downwards from 0, the top of a character, to 1, its bottom."""

Piece: TypeAlias = Sequence[Point]
"""Points of a smooth line; only the first piece of a stroke has its own beginning."""

Skeleton: TypeAlias = Sequence[Sequence[Piece]]
"""The strokes of a character, in the order of writing, each of one or more pieces; a single point is a dot."""

UNSTEADY = 0.022
"""Random shift of each point of a skeleton: standard deviation along each axis, in heights."""

BOW = 0.035
"""Random shift of the middle of a straight line: standard deviation, as a share of the line's length."""

NARROW = 0.14
"""Random change of a character's width: standard deviation of its logarithm."""

SLANT = (0.08, 0.17)
"""Shift of the top to the right of the bottom: mean and standard deviation, in heights. Most hands lean right."""

TURN = math.radians(4)
"""The angle by which a character is turned by chance: the standard deviation."""


def write(skeleton: Skeleton, random: Generator) -> list[npt.NDArray[np.float64]]:
    """Writes a skeleton by hand: its points a little off, its lines a little bent, all of it stretched and slanted.

    Returns:
        The strokes, each float64 (n, 2), x to the right and y downwards.
    """
    slant, turn = random.normal(*SLANT), random.normal(0, TURN)
    wide = math.exp(random.normal(0, NARROW))
    cos, sin = math.cos(turn), math.sin(turn)
    hand = np.array([[wide, 0], [-slant, 1]]) @ np.array([[cos, sin], [-sin, cos]])  # for rows of (x, y)
    return [_stroke(pieces, random) @ hand for pieces in skeleton]


def _stroke(pieces: Sequence[Piece], random: Generator) -> npt.NDArray[np.float64]:
    lines = []
    begin = np.empty((0, 2))
    for piece in pieces:
        points = np.array(piece, np.float64)
        points = np.concatenate((begin, points + _drift(len(points), random)))
        lines.append(smooth(_bowed(points, random)) if len(points) > 1 else points)
        begin = points[-1:]
    return np.concatenate(lines)


def _drift(count: int, random: Generator) -> npt.NDArray[np.float64]:
    """The shift of each point of a piece: (n, 2). Neighbours move alike, so that curves stay smooth."""
    knots = random.normal(0, UNSTEADY, (2 + count // 4, 2))
    places = np.linspace(0, len(knots) - 1, count)
    return np.stack([np.interp(places, np.arange(len(knots)), knots[:, axis]) for axis in (0, 1)], axis=1)


def _bowed(points: npt.NDArray[np.float64], random: Generator) -> npt.NDArray[np.float64]:
    """A straight line with a third point near its middle, as no hand draws one; others stay as they are."""
    if len(points) != 2:
        return points
    along = points[1] - points[0]
    middle = points.mean(axis=0) + random.normal(0, BOW) * np.array([-along[1], along[0]])
    return np.stack((points[0], middle, points[1]))


def ellipse(
    middle: Point, radii: Point, begin: float = -90, sweep: float = -360, points: int = 12
) -> list[tuple[float, float]]:
    """Points along a piece of an ellipse, from the angle `begin` on, in degrees clockwise from its right end.

    Args:
        middle: the middle of the ellipse.
        radii: half its width and half its height.
        begin: the angle of the first point; -90 is the top.
        sweep: the angle from the first point to the last; negative is counter-clockwise, as most hands turn.
        points: how many points there are.
    """
    angles = np.radians(np.linspace(begin, begin + sweep, points))
    return [(middle[0] + radii[0] * math.cos(angle), middle[1] + radii[1] * math.sin(angle)) for angle in angles]
