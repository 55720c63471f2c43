"""A field to draw on with a pen: lines, filled shapes and holes, in places from -1 to 1, as coverage by ink.

Everything is drawn through one random turn, squeeze and slant, as no two hands draw alike. It knows no page, and not
what is drawn.
"""

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from PIL import Image, ImageDraw

Points: TypeAlias = npt.NDArray[np.float64] | Sequence[tuple[float, float]]
"""Places in the field: (N, 2), x to the right and y downwards, the field itself from -1 to 1."""

SKETCH_SIDE = 160
"""The side of the field in pixels; a mark is scaled to its place on a page afterwards."""

EXTENT = 0.7
"""How far from the field's middle the place 1 lies, 1 being the border: what is turned and slanted stays inside."""

CIRCLE_POINTS = 36
"""The corners of what looks like a circle."""

MAX_DISTORTION = 0.2
"""How far a mark is slanted and squeezed at most, as a share of its size."""


class Sketch:
    """A drawing under way.

    Args:
        random: where the pen's width and the hand's turn and slant come from.
        turn: how far it is turned at most, in radians.
        widest: how wide the pen is at most, as a share of the field.
    """

    def __init__(self, random: Generator, turn: float = 0.25, widest: float = 0.11) -> None:
        self._image = Image.new("L", (SKETCH_SIDE, SKETCH_SIDE))
        self._draw = ImageDraw.Draw(self._image)
        self._width = round(SKETCH_SIDE * float(random.uniform(0.03, widest)))
        self._distortion = random_distortion(random, turn)

    def line(self, points: Points, *, closed: bool = False) -> None:
        """A stroke through all points, its ends and corners round."""
        places = self._places(points)
        path = [*places, places[0]] if closed else places
        joint = "curve" if len(path) < CIRCLE_POINTS // 2 else None  # dense paths look smooth without it
        self._draw.line(path, 255, self._width, joint)
        for place in (path[0], path[-1]):
            self._dot(place, self._width / 2)

    def fill(self, points: Points) -> None:
        """A shape full of ink."""
        self._draw.polygon(self._places(points), 255)

    def hole(self, points: Points) -> None:
        """A shape that is paper again, whatever was there."""
        self._draw.polygon(self._places(points), 0)

    def outline_or_fill(self, points: Points, random: Generator) -> None:
        """A closed shape, as likely filled as not."""
        if random.random() < 0.5:
            self.fill(points)
        else:
            self.line(points, closed=True)

    def mark(self) -> Image.Image:
        """What was drawn: a grey image of the ink's coverage, 0 = paper and 255 = ink."""
        return self._image

    def _dot(self, place: tuple[float, float], radius: float) -> None:
        x, y = place
        self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), 255)

    def _places(self, points: Points) -> list[tuple[float, float]]:
        moved = (np.asarray(points, np.float64) @ self._distortion * EXTENT + 1) * (SKETCH_SIDE / 2)  # (N, 2)
        return [(float(x), float(y)) for x, y in moved]


def random_distortion(random: Generator, turn: float) -> npt.NDArray[np.float64]:
    """A random turn of at most `turn` radians after a random squeeze and slant: float64 (2, 2), for rows of (x, y)."""
    angle = float(random.uniform(-turn, turn))
    along, across, slant = random.uniform(-MAX_DISTORTION, MAX_DISTORTION, 3)
    squeezed = np.array([[1 + along, 0.0], [slant, 1 + across]])
    turned: npt.NDArray[np.float64] = squeezed @ np.array(
        [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    )
    return turned


def arc(
    centre: tuple[float, float] = (0.0, 0.0),
    radii: tuple[float, float] = (1.0, 1.0),
    begin: float = 0.0,
    end: float = 2 * math.pi,
) -> npt.NDArray[np.float64]:
    """A piece of an ellipse, clockwise from `begin` to `end` in radians, 0 being its right end: float64 (N, 2)."""
    angles = np.linspace(begin, end, CIRCLE_POINTS)
    return np.array(centre) + np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii


def polygon(corners: int, begin: float = -math.pi / 2, radius: float = 1.0) -> npt.NDArray[np.float64]:
    """The corners of a regular polygon, the first at the angle `begin`, by default on top: float64 (N, 2)."""
    angles = begin + np.arange(corners) * (2 * math.pi / corners)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius


def smooth(points: npt.NDArray[np.float64], steps: int = 8) -> npt.NDArray[np.float64]:
    """A smooth line through all points, `steps` pieces from each to the next: float64 (N, 2) to float64 (M, 2).

    E. Catmull and R. Rom, "A class of local interpolating splines", Computer Aided Geometric Design (1974).
    """
    padded = np.concatenate((points[:1], points, points[-1:]))
    before, here, there, after = (padded[start : start + len(points) - 1, None] for start in range(4))  # (N - 1, 1, 2)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]  # (steps, 1)
    line = (
        2 * here
        + (there - before) * t
        + (2 * before - 5 * here + 4 * there - after) * t**2
        + (3 * here - before - 3 * there + after) * t**3
    ) / 2
    return np.concatenate((line.reshape(-1, 2), points[-1:]))
