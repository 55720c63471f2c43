"""Scribbles: meaningless pen strokes, with too many turns for a digit."""

import math

import numpy as np
from numpy.random import Generator
from PIL import Image

from vitrine.training.rendering.nondigits.kit import Drawing
from vitrine.training.rendering.nondigits.sketch import Sketch
from vitrine.training.rendering.splines import smooth


def tangle(random: Generator) -> Image.Image:
    """One stroke with 10 to 18 turns that crosses itself."""
    sketch = Sketch(random)
    sketch.line(smooth(random.uniform(-1, 1, (random.integers(10, 19), 2))))
    return sketch.mark()


def strokes(random: Generator) -> Image.Image:
    """Four to six short, slightly curved strokes that cross each other."""
    sketch = Sketch(random)
    for _ in range(random.integers(4, 7)):
        ends = random.uniform(-1, 1, (2, 2))
        middle = ends.mean(axis=0) + random.uniform(-0.3, 0.3, 2)
        sketch.line(smooth(np.stack([ends[0], middle, ends[1]])))
    return sketch.mark()


def zigzag(random: Generator) -> Image.Image:
    """Five to nine strokes back and forth, as if crossing something out."""
    sketch, turns = Sketch(random, math.pi), int(random.integers(5, 10))
    x = np.where(np.arange(turns) % 2, 1, -1) * random.uniform(0.6, 1, turns)
    sketch.line(np.stack([x, np.linspace(-1, 1, turns)], axis=1))
    return sketch.mark()


def spiral(random: Generator) -> Image.Image:
    """A spiral of two and a half to four turns."""
    sketch, turns = Sketch(random, math.pi), float(random.uniform(2.5, 4))
    t = np.linspace(0, 1, 100)
    angles = 2 * math.pi * turns * t * (1 if random.random() < 0.5 else -1)
    sketch.line(np.stack([t * np.cos(angles), t * np.sin(angles)], axis=1))
    return sketch.mark()


def loops(random: Generator) -> Image.Image:
    """Three to six loops in a row, as if testing a pen."""
    sketch, turns = Sketch(random, 0.5), int(random.integers(3, 7))
    t = np.linspace(0, 2 * math.pi * turns, 20 * turns)
    along = np.linspace(-0.7, 0.7, len(t))
    height = float(random.uniform(0.4, 0.8))
    sketch.line(np.stack([along + 0.3 * np.cos(t), height * np.sin(t)], axis=1))
    return sketch.mark()


EXPOSURE_SCRIBBLES: tuple[Drawing, ...] = (tangle, strokes)
"""Kinds for training."""

EVALUATION_SCRIBBLES: tuple[Drawing, ...] = (*EXPOSURE_SCRIBBLES, zigzag, spiral, loops)
"""All kinds."""
