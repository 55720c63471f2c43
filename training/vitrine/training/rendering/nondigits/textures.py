"""Images without a motif: noise, patterns, gradients, and empty pages."""

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from PIL import Image

from vitrine.training.rendering.nondigits.kit import Kit, Texture
from vitrine.training.rendering.nondigits.page import PAPER_LEVELS, GreyImage, grain, to_grey
from vitrine.training.rendering.stress import scene

Levels: TypeAlias = npt.NDArray[np.floating[Any]]
"""Unrounded grey levels: float (H, W)."""

SIDE_RANGE = (32, 200)
"""Range of the longer side of an image, in pixels."""


def uniform(size: tuple[int, int], random: Generator) -> Levels:
    """Uniform noise over all grey levels."""
    return random.uniform(0, 255, size)


def gaussian(size: tuple[int, int], random: Generator) -> Levels:
    """Gaussian noise of random strength on a uniform grey, in grains of one to four pixels."""
    coarse = int(random.integers(1, 5))
    grains = (size[0] // coarse + 1, size[1] // coarse + 1)
    noise = random.normal(random.uniform(60, 200), random.uniform(5, 60), grains)
    return noise.repeat(coarse, axis=0).repeat(coarse, axis=1)[: size[0], : size[1]]


def gradient(size: tuple[int, int], random: Generator) -> Levels:
    """A gradient between two greys in a random direction."""
    begin, end = random.uniform(0, 255, 2)
    levels: Levels = begin + (end - begin) * _along(size, random) + grain(size, random)
    return levels


def clouds(size: tuple[int, int], random: Generator) -> Levels:
    """Soft light and dark patches, like an image out of focus."""
    few = random.uniform(0, 255, (random.integers(2, 8), random.integers(2, 8))).astype(np.float32)
    return np.asarray(Image.fromarray(few).resize(size[::-1], Image.Resampling.BICUBIC)) + grain(size, random)


def speckle(size: tuple[int, int], random: Generator) -> Levels:
    """White with 1 to 40 % black pixels, or the reverse."""
    black = random.random(size) < random.uniform(0.01, 0.4)
    return np.where(black == (random.random() < 0.3), 255.0, 0.0)


def stripes(size: tuple[int, int], random: Generator) -> Levels:
    """Three or more stripes in a random direction, with hard or soft edges."""
    wave = np.sin(2 * math.pi * random.uniform(3, 9) * _along(size, random) + random.uniform(0, 6))
    return 128 + random.uniform(40, 127) * (wave * random.uniform(1, 9)).clip(-1, 1) + grain(size, random)


def checks(size: tuple[int, int], random: Generator) -> Levels:
    """A chequered pattern."""
    side = max(min(size) // int(random.integers(4, 10)), 2)
    y, x = np.ogrid[: size[0], : size[1]]
    light, dark = random.uniform(140, 255), random.uniform(0, 110)
    return np.where((y // side + x // side) % 2, light, dark) + grain(size, random)


def weave(size: tuple[int, int], random: Generator) -> Levels:
    """Waves in two directions on top of each other, like cloth."""
    waves = [np.sin(2 * math.pi * random.uniform(3, 9) * _along(size, random)) for _ in range(2)]
    levels: Levels = random.uniform(100, 180) + random.uniform(20, 60) * np.sum(waves, axis=0) + grain(size, random)
    return levels


EXPOSURE_TEXTURES: tuple[Texture, ...] = (uniform, gaussian, gradient, clouds)
"""Kinds for training."""

EVALUATION_TEXTURES: tuple[Texture, ...] = (*EXPOSURE_TEXTURES, speckle, stripes, checks, weave)
"""All kinds. Half of them are new to every network."""


def noise(kit: Kit, random: Generator) -> GreyImage:
    """A texture that fills the whole image."""
    return to_grey(kit.textures[random.integers(len(kit.textures))](_size(random), random))


def blank(_kit: Kit, random: Generator) -> GreyImage:
    """An empty page: plain, grainy, lit from one side, with a soft shadow, or with specks of dust."""
    size = _size(random)
    page = np.full((*size, 3), random.uniform(*PAPER_LEVELS), np.float32)
    if random.random() < 0.7:
        page += grain((*size, 1), random)
    if random.random() < 0.4:
        page = scene.light(page, float(random.uniform(0.5, 0.9)), random)
    if random.random() < 0.3:
        page = scene.shadow(page, float(random.uniform(0.1, 0.4)), float(random.uniform(0.5, 1)), random)
    if random.random() < 0.3:
        _dust(page, random)
    return to_grey(page[..., 0])


def _dust(page: scene.Picture, random: Generator) -> None:
    """Darkens one to five pixels slightly."""
    for _ in range(random.integers(1, 6)):
        page[random.integers(page.shape[0]), random.integers(page.shape[1])] -= np.float32(random.uniform(3, 8))


def _along(size: tuple[int, int], random: Generator) -> npt.NDArray[np.float64]:
    """Position of each pixel along a random direction, about 0 to 1: float64 (H, W)."""
    angle = random.uniform(0, 2 * math.pi)
    y, x = np.ogrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    along: npt.NDArray[np.float64] = (math.cos(angle) * x + math.sin(angle) * y) / 2 + 0.5
    return along


def _size(random: Generator) -> tuple[int, int]:
    """Height and width. The logarithm of the longer side is uniform; the shorter side is at least half of it."""
    longer = SIDE_RANGE[0] * (SIDE_RANGE[1] / SIDE_RANGE[0]) ** float(random.random())
    sides = round(longer), round(longer * float(random.uniform(0.5, 1)))
    return sides if random.random() < 0.5 else sides[::-1]
