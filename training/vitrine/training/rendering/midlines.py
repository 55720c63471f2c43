"""The middle lines of drawn characters, so that a hand can write what was only ever printed.

A shape is thinned to lines one pixel wide, and these are followed from end to end. The result is a skeleton like those
of `letters`. It knows neither fonts nor pens.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from vitrine.training.rendering.skeletons import Point, Skeleton
from vitrine.training.rendering.stress.strokes import thin

Mask: TypeAlias = npt.NDArray[np.bool_]
"""Where there is ink: bool (H, W)."""

Place: TypeAlias = tuple[int, int]
"""A pixel: its row and its column."""

SPACING = 1 / 12
"""Distance of the points of a skeleton, as a share of the character's longer side."""

SPUR = 1 / 14
"""Length up to which a line that begins at another and ends free is a trace of thinning, as a share of that side."""

AROUND = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
"""The neighbours of a pixel, clockwise from the one above it."""


def skeleton_of(ink: Mask) -> Skeleton:
    """The skeleton of a drawn character, its longer side 1.

    Args:
        ink: bool (H, W), True where there is ink; at least one pixel.
    """
    rows, columns = np.nonzero(ink)
    side = max(int(np.ptp(rows)), int(np.ptp(columns)), 1)
    lines = [line for line in _lines(thin(ink)) if not _is_spur(line, side)]
    corner = np.array([columns.min(), rows.min()])
    return [[_sampled((np.array(line.places)[:, ::-1] - corner) / side)] for line in lines]


@dataclass(frozen=True, slots=True)
class _Line:
    """A line between two ends or crossings, or around a ring."""

    places: list[Place]
    free_ends: int
    """The ends where no other line goes on: 0 to 2."""


def _is_spur(line: _Line, side: int) -> bool:
    return line.free_ends == 1 and len(line.places) <= SPUR * side


def _lines(thinned: Mask) -> Iterator[_Line]:
    """All lines of a thinned character: those that begin at an end or a crossing, and then the rings."""
    near = {
        place: _neighbours(place, thinned) for place in zip(*map(np.ndarray.tolist, thinned.nonzero()), strict=True)
    }
    nodes = [place for place, others in near.items() if len(others) != 2]
    walked: set[frozenset[Place]] = set()
    for begin in dict.fromkeys([*nodes, *near]):
        if not near[begin]:
            yield _Line([begin], 0)
        for step in near[begin]:
            if frozenset((begin, step)) in walked:
                continue
            places = [begin, step]
            while len(near[places[-1]]) == 2 and places[-1] != begin:
                places.append(next(place for place in near[places[-1]] if place != places[-2]))
            walked.update(map(frozenset, pairwise(places)))
            yield _Line(places, sum(len(near[end]) == 1 for end in (places[0], places[-1])))


def _neighbours(place: Place, thinned: Mask) -> list[Place]:
    """The pixels that a line goes on to; a diagonal step isn't one where two straight steps lead there."""
    row, column = place
    height, width = thinned.shape

    def inked(down: int, right: int) -> bool:
        inside = 0 <= row + down < height and 0 <= column + right < width
        return inside and bool(thinned[row + down, column + right])

    return [
        (row + down, column + right)
        for down, right in AROUND
        if inked(down, right) and not (down and right and (inked(down, 0) or inked(0, right)))
    ]


def _sampled(line: npt.NDArray[np.float64]) -> list[Point]:
    """Points of a line, (n, 2), about `SPACING` apart, both ends among them."""
    along = np.concatenate(((0.0,), np.cumsum(np.hypot(*np.diff(line, axis=0).T))))
    wanted = np.linspace(0, along[-1], 1 + max(1, round(along[-1] / SPACING))) if len(line) > 1 else along
    return [(float(np.interp(way, along, line[:, 0])), float(np.interp(way, along, line[:, 1]))) for way in wanted]
