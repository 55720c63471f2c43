"""A canvas for pen drawings: lines, filled shapes and holes at coordinates from -1 to 1, as ink coverage.

Every drawing gets one random rotation, scaling and slant, as in handwriting. This module knows neither pages nor
motifs.
"""

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from PIL import Image, ImageDraw

Points: TypeAlias = npt.NDArray[np.float64] | Sequence[tuple[float, float]]
"""Coordinates on the canvas: (N, 2), x to the right and y down, from -1 to 1."""

SKETCH_SIDE = 160
"""Side of the canvas in pixels. A mark is scaled afterwards to its place on a page."""

EXTENT = 0.7
"""Distance of coordinate 1 from the centre, where 1 is the border: rotated and slanted drawings stay inside."""

CIRCLE_POINTS = 36
"""Points of a polygon that approximates a circle."""

MAX_DISTORTION = 0.2
"""Largest scaling and slant, as a share of the mark's size."""


class Sketch:
    """A drawing in progress.

    Args:
        random: source of the pen's width and of the distortion.
        turn: largest rotation, in radians.
        widest: largest pen width, as a share of the canvas.
    """

    def __init__(self, random: Generator, turn: float = 0.25, widest: float = 0.11) -> None:
        self._image = Image.new("L", (SKETCH_SIDE, SKETCH_SIDE))
        self._draw = ImageDraw.Draw(self._image)
        self._width = round(SKETCH_SIDE * float(random.uniform(0.03, widest)))
        self._distortion = random_distortion(random, turn)

    def line(self, points: Points, *, closed: bool = False) -> None:
        """Draws a stroke through all points, with round ends and corners."""
        places = self._places(points)
        path = [*places, places[0]] if closed else places
        joint = "curve" if len(path) < CIRCLE_POINTS // 2 else None  # dense paths look smooth without it
        self._draw.line(path, 255, self._width, joint)
        for place in (path[0], path[-1]):
            self._dot(place, self._width / 2)

    def fill(self, points: Points) -> None:
        """Draws a shape filled with ink."""
        self._draw.polygon(self._places(points), 255)

    def hole(self, points: Points) -> None:
        """Erases a shape."""
        self._draw.polygon(self._places(points), 0)

    def outline_or_fill(self, points: Points, random: Generator) -> None:
        """Draws a closed shape, filled or outlined with equal probability."""
        if random.random() < 0.5:
            self.fill(points)
        else:
            self.line(points, closed=True)

    def mark(self) -> Image.Image:
        """The drawing: a grey image of the ink's coverage, 0 = paper and 255 = ink."""
        return self._image

    def _dot(self, place: tuple[float, float], radius: float) -> None:
        x, y = place
        self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), 255)

    def _places(self, points: Points) -> list[tuple[float, float]]:
        moved = (np.asarray(points, np.float64) @ self._distortion * EXTENT + 1) * (SKETCH_SIDE / 2)  # (N, 2)
        return [(float(x), float(y)) for x, y in moved]


def random_distortion(random: Generator, turn: float) -> npt.NDArray[np.float64]:
    """A random scaling and slant, then a rotation of at most `turn` radians: float64 (2, 2), for rows of (x, y)."""
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
    """Arc of an ellipse, clockwise from angle `begin` to `end` in radians, where 0 is its right end: float64 (N, 2)."""
    angles = np.linspace(begin, end, CIRCLE_POINTS)
    return np.array(centre) + np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii


def polygon(corners: int, begin: float = -math.pi / 2, radius: float = 1.0) -> npt.NDArray[np.float64]:
    """Corners of a regular polygon, the first at angle `begin`, by default at the top: float64 (N, 2)."""
    angles = begin + np.arange(corners) * (2 * math.pi / corners)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius
