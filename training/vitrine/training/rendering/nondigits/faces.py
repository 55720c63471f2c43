"""Drawn faces: outline, eyes, mouth, often nose and hair. They are never used in training."""

import math

import numpy as np
from numpy.random import Generator

from vitrine.training.rendering.nondigits.kit import Kit
from vitrine.training.rendering.nondigits.page import GreyImage, place_on_page
from vitrine.training.rendering.nondigits.sketch import Sketch, arc, polygon
from vitrine.training.rendering.splines import smooth


def faces(_kit: Kit, random: Generator) -> GreyImage:
    """A face seen from the front."""
    sketch = Sketch(random)
    wide = float(random.uniform(0.7, 1))
    sketch.line(arc(radii=(wide, 1)), closed=True)
    _eyes(sketch, random, wide)
    _mouth(sketch, random, wide)
    if random.random() < 0.6:
        _nose(sketch, random)
    _hair(sketch, random, wide)
    return place_on_page(sketch.mark(), random)


def _eyes(sketch: Sketch, random: Generator, wide: float) -> None:
    """Dots, closed lids or open eyes, sometimes with glasses."""
    apart, high = wide * float(random.uniform(0.35, 0.45)), float(random.uniform(-0.4, -0.2))
    size, kind, glasses = float(random.uniform(0.1, 0.17)), int(random.integers(3)), random.random() < 0.2
    for x in (-apart, apart):
        if kind == 0:
            sketch.fill(arc((x, high), (size, size)))
        elif kind == 1:
            sketch.line(arc((x, high), (size, size), math.pi, 2 * math.pi))
        else:
            sketch.line(arc((x, high), (1.3 * size, size)), closed=True)
        if glasses:
            sketch.line(arc((x, high), (0.3, 0.28)), closed=True)
    if glasses:
        sketch.line([(-apart + 0.3, high), (apart - 0.3, high)])


def _mouth(sketch: Sketch, random: Generator, wide: float) -> None:
    """A smiling, sad, straight or open mouth."""
    half, low, bend = (
        wide * float(random.uniform(0.3, 0.55)),
        float(random.uniform(0.4, 0.55)),
        random.uniform(0.1, 0.3),
    )
    kind = int(random.integers(4))
    if kind == 0:
        sketch.line([(-half, low), (half, low)])
    elif kind == 1:
        sketch.outline_or_fill(arc((0, low), (0.6 * half, 0.2)), random)
    else:
        side = bend if kind == 2 else -bend
        sketch.line(smooth(np.array([(-half, low), (0, low + side), (half, low)])))


def _nose(sketch: Sketch, random: Generator) -> None:
    """A bent line."""
    side = float(random.uniform(-0.2, 0.2))
    sketch.line([(0, -0.15), (side, 0.18), (0, 0.2)])


def _hair(sketch: Sketch, random: Generator, wide: float) -> None:
    """Full hair, spiky hair or none; often with ears."""
    kind = int(random.integers(3))
    if kind == 0:
        sketch.fill(arc(radii=(1.05 * wide, 1.05), begin=1.15 * math.pi, end=1.85 * math.pi))
    elif kind == 1:
        for end in polygon(16)[[13, 14, 15, 0, 1, 2, 3]] * (wide, 1):
            sketch.line([end, 1.25 * end])
    if random.random() < 0.4:
        for side in (-1, 1):
            sketch.line(arc((side * (wide + 0.1), 0), (0.13, 0.22)), closed=True)
