"""Shapes: signs and simple objects, outlined or filled. None looks like a digit.

An empty ring would be a 0, an upright bar or arrow a 1, and a lightning bolt a 2, so these are left out.
"""

import math

import numpy as np
from numpy.random import Generator
from PIL import Image

from vitrine.training.rendering.nondigits.kit import Drawing
from vitrine.training.rendering.nondigits.sketch import Sketch, arc, polygon

ANY_TURN = math.pi
"""Largest rotation of shapes that mean the same in every orientation, in radians."""


def triangle(random: Generator) -> Image.Image:
    """A triangle."""
    sketch = Sketch(random, ANY_TURN)
    sketch.outline_or_fill(polygon(3), random)
    return sketch.mark()


def rectangle(random: Generator) -> Image.Image:
    """A filled rectangle, or one with one or two diagonals; never narrow enough to be a bar."""
    sketch, high = Sketch(random), float(random.uniform(0.6, 1))
    corners = [(-1.0, -high), (1.0, -high), (1.0, high), (-1.0, high)]
    if random.random() < 0.4:
        sketch.fill(corners)
    else:
        sketch.line(corners, closed=True)
        sketch.line([corners[0], corners[2]])
        if random.random() < 0.5:
            sketch.line([corners[1], corners[3]])
    return sketch.mark()


def cross(random: Generator) -> Image.Image:
    """Two perpendicular strokes of similar length, in any orientation."""
    sketch, other = Sketch(random, ANY_TURN), float(random.uniform(0.7, 1))
    sketch.line([(-1, 0), (1, 0)])
    sketch.line([(0, -other), (0, other)])
    return sketch.mark()


def star(random: Generator) -> Image.Image:
    """A star with four to seven points."""
    sketch, points = Sketch(random, ANY_TURN), int(random.integers(4, 8))
    inner = polygon(points, -math.pi / 2 + math.pi / points, float(random.uniform(0.35, 0.5)))
    sketch.outline_or_fill(np.stack([polygon(points), inner], axis=1).reshape(-1, 2), random)
    return sketch.mark()


def arrow(random: Generator) -> Image.Image:
    """An arrow to the left or to the right; an upright one would be a 1."""
    sketch, side, barb = Sketch(random, 0.5), 1 if random.random() < 0.5 else -1, float(random.uniform(0.45, 0.8))
    sketch.line([(-side, 0.0), (side, 0.0)])
    sketch.line([(side * (1 - barb), -barb), (side, 0.0), (side * (1 - barb), barb)])
    return sketch.mark()


def disc(random: Generator) -> Image.Image:
    """A filled circle or half circle."""
    sketch = Sketch(random, ANY_TURN)
    sketch.fill(arc(end=2 * math.pi if random.random() < 0.6 else math.pi))
    return sketch.mark()


def target(random: Generator) -> Image.Image:
    """A ring with a dot or another ring inside."""
    sketch, inner = Sketch(random, widest=0.06), float(random.uniform(0.3, 0.5))
    sketch.line(arc(), closed=True)
    sketch.outline_or_fill(arc(radii=(inner, inner)), random)
    return sketch.mark()


def hash_sign(random: Generator) -> Image.Image:
    """Two or three strokes across two or three others."""
    sketch = Sketch(random)
    for x in np.linspace(-0.45, 0.45, int(random.integers(2, 4))):
        sketch.line([(x, -1.0), (x, 1.0)])
    for y in np.linspace(-0.45, 0.45, int(random.integers(2, 4))):
        sketch.line([(-1.0, y), (1.0, y)])
    return sketch.mark()


def heart(random: Generator) -> Image.Image:
    """A heart."""
    sketch, t = Sketch(random), np.linspace(0, 2 * math.pi, 60)
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 16
    sketch.outline_or_fill(np.stack([np.sin(t) ** 3, y], axis=1), random)
    return sketch.mark()


def crossed_ring(random: Generator) -> Image.Image:
    """A ring with a cross, a triangle or a square inside."""
    sketch, corners = Sketch(random, widest=0.06), int(random.integers(2, 5))
    sketch.line(arc(), closed=True)
    if corners == 2:
        sketch.line([(-0.7, -0.7), (0.7, 0.7)])
        sketch.line([(0.7, -0.7), (-0.7, 0.7)])
    else:
        sketch.line(polygon(corners, radius=0.95), closed=True)
    return sketch.mark()


def crescent(random: Generator) -> Image.Image:
    """A waxing or waning moon."""
    sketch, side = Sketch(random, 0.5), 1 if random.random() < 0.5 else -1
    sketch.fill(arc())
    sketch.hole(arc((side * float(random.uniform(0.5, 0.7)), 0.0), (0.85, 0.9)))
    return sketch.mark()


def sun(random: Generator) -> Image.Image:
    """A ring or a disc with six to ten rays."""
    sketch, rays = Sketch(random), int(random.integers(6, 11))
    sketch.outline_or_fill(arc(radii=(0.5, 0.5)), random)
    for outer in polygon(rays):
        sketch.line([0.68 * outer, outer])
    return sketch.mark()


def house(random: Generator) -> Image.Image:
    """Walls, a roof, and sometimes a door."""
    sketch = Sketch(random)
    sketch.line([(-0.7, -0.1), (-0.7, 1), (0.7, 1), (0.7, -0.1)], closed=True)
    sketch.line([(-1, 0), (0, -1), (1, 0)])
    if random.random() < 0.6:
        sketch.line([(-0.2, 1), (-0.2, 0.4), (0.25, 0.4), (0.25, 1)])
    return sketch.mark()


def flower(random: Generator) -> Image.Image:
    """Petals around a centre, filled or outlined."""
    sketch, petals = Sketch(random, ANY_TURN), int(random.integers(4, 8))
    t = np.linspace(0, 2 * math.pi, 120)
    radius = 0.65 + 0.35 * np.cos(petals * t)
    sketch.outline_or_fill(np.stack([radius * np.cos(t), radius * np.sin(t)], axis=1), random)
    sketch.hole(arc(radii=(0.2, 0.2)))
    return sketch.mark()


def cube(random: Generator) -> Image.Image:
    """A transparent cube with all its edges."""
    sketch, deep = Sketch(random), float(random.uniform(0.4, 0.7))
    front = np.array([(-1, deep - 1), (1 - deep, deep - 1), (1 - deep, 1), (-1, 1)])
    back = np.add(front, (deep, -deep))
    sketch.line(front, closed=True)
    sketch.line(back, closed=True)
    for pair in zip(front, back, strict=True):
        sketch.line(np.array(pair))
    return sketch.mark()


def tree(random: Generator) -> Image.Image:
    """A fir: two or three triangles on a trunk."""
    sketch, storeys = Sketch(random), int(random.integers(2, 4))
    sketch.line([(0, 0.5), (0, 1)])
    for storey in range(storeys):
        top = -1 + 1.2 * storey / storeys
        sketch.outline_or_fill([(0, top), (0.45 + 0.2 * storey, top + 0.7), (-0.45 - 0.2 * storey, top + 0.7)], random)
    return sketch.mark()


EXPOSURE_SHAPES: tuple[Drawing, ...] = (triangle, rectangle, cross, star, arrow, disc, target, hash_sign)
"""Kinds for training."""

EVALUATION_SHAPES: tuple[Drawing, ...] = (
    *EXPOSURE_SHAPES,
    heart,
    crossed_ring,
    crescent,
    sun,
    house,
    flower,
    cube,
    tree,
)
"""All kinds. Half of them are new to every network."""
