"""Paper, table, light and camera: the effects between a written digit and an image file.

Every function takes a picture and returns a new one, and draws random numbers from the given generator. This module
knows no digits: strokes are ink coverage.
"""

import io
import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from PIL import Image, ImageFilter

from vitrine.training.rendering.stress.strokes import Strokes

Picture: TypeAlias = npt.NDArray[np.float32]
"""A colour picture: float32 (H, W, 3), RGB, 0 = black and 255 = white."""

Size: TypeAlias = tuple[int, int]
"""Height and width, in pixels."""

Colour: TypeAlias = tuple[float, float, float]
"""RGB, each 0 to 255."""

WHITE: Colour = (245.0, 244.0, 240.0)
BLACK_INK: Colour = (38.0, 36.0, 42.0)
BLUE_INK: Colour = (46.0, 66.0, 158.0)

TABLES: tuple[Colour, ...] = ((92.0, 62.0, 40.0), (150.0, 112.0, 78.0), (58.0, 60.0, 64.0), (172.0, 176.0, 178.0))
"""Dark wood, light wood, slate, and a pale desk."""


def paper_sheet(size: Size, colour: Colour, random: Generator, grain: float = 1.5) -> Picture:
    """Paper of a colour, with fine grain."""
    paper = np.broadcast_to(np.array(colour, np.float32), (*size, 3))
    return paper + random.normal(0, grain, (*size, 1)).astype(np.float32)


def draw_strokes(picture: Picture, strokes: Strokes, corner: tuple[int, int], colour: Colour) -> Picture:
    """Draws ink on paper. `corner` is the row and column of the strokes' upper left corner; they must fit."""
    top, left = corner
    height, width = strokes.shape
    written = picture.copy()
    under = written[top : top + height, left : left + width]
    under += strokes[..., None] * (np.array(colour, np.float32) - under)
    return written


def draw_ruling(picture: Picture, spacing: int, colour: Colour, *, squared: bool) -> Picture:
    """Draws printed lines, one to three pixels wide and `spacing` pixels apart, as squares or rows."""
    ruled = picture.copy()
    width = min(max(spacing // 24, 1), 3)
    for start in range(spacing // 2, picture.shape[0], spacing):
        ruled[start : start + width] = colour
    for start in range(spacing // 2, picture.shape[1] if squared else 0, spacing):
        ruled[:, start : start + width] = colour
    return ruled


def lay_on_table(picture: Picture, colour: Colour, random: Generator) -> Picture:
    """The sheet on a table, rotated by up to 6°, with a border of 4 to 16 % on some or all sides."""
    height, width = picture.shape[:2]
    table = _wood((height, width), colour, random)
    top, bottom, left, right = random.uniform(0.04, 0.16, 4) * (random.random(4) < 0.75)
    place = (round(left * width), round(top * height))
    inner = (max(round(width * (1 - left - right)), 1), max(round(height * (1 - top - bottom)), 1))
    angle = float(random.uniform(-6, 6))
    paper = to_image(picture).resize(inner, Image.Resampling.BOX).rotate(angle, Image.Resampling.BICUBIC)
    shape = Image.new("L", inner, 255).rotate(angle, Image.Resampling.BICUBIC)
    table.paste(paper, place, shape)
    return np.asarray(table, np.float32)


def _wood(size: Size, colour: Colour, random: Generator) -> Image.Image:
    """A table surface with streaks along its length."""
    streaks = random.normal(0, 1, (size[0] // 3 + 1, 4)).astype(np.float32)
    texture = np.asarray(Image.fromarray(streaks).resize((size[1], size[0]), Image.Resampling.BICUBIC))
    shade = np.float32(1) + np.float32(0.07) * texture[..., None]
    return to_image(np.array(colour, np.float32) * shade)


def light(picture: Picture, darkest: float, random: Generator) -> Picture:
    """Light that decreases from one side to the other, down to `darkest` (0 to 1), as from a lamp or window."""
    across = _across(picture.shape[:2], float(random.uniform(0, 2 * math.pi)))
    fall = across ** float(random.uniform(0.8, 1.8))
    lit: Picture = picture * (1 - (1 - darkest) * fall)[..., None]
    return lit


def shadow(picture: Picture, depth: float, softness: float, random: Generator) -> Picture:
    """The shadow of a hand or phone over a part of the picture, with its edge near the centre.

    Args:
        picture: picture to darken.
        depth: share of the light that is lost, 0 to 1.
        softness: width of the edge, as a share of the picture.
        random: source of position and direction.
    """
    across = _across(picture.shape[:2], float(random.uniform(0, 2 * math.pi)))
    edge = float(random.uniform(0.3, 0.7))
    inside = ((across - edge) / softness + 0.5).clip(0, 1)
    dark: Picture = picture * (1 - depth * inside * inside * (3 - 2 * inside))[..., None]
    return dark


def _across(size: tuple[int, ...], angle: float) -> npt.NDArray[np.float32]:
    """Position of each pixel in a direction: float32 (H, W), 0 at one end and 1 at the other."""
    y, x = np.ogrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    far = np.cos(angle) * x + np.sin(angle) * y
    reach = abs(math.cos(angle)) + abs(math.sin(angle))
    return np.asarray((far / reach + 1) / 2, np.float32)


def blur(picture: Picture, radius: float) -> Picture:
    """Gaussian blur with a radius in pixels."""
    return np.asarray(to_image(picture).filter(ImageFilter.GaussianBlur(radius)), np.float32)


def enlarge(picture: Picture, width: int) -> Picture:
    """Scales the picture to a width in pixels without adding detail, like a phone camera."""
    height = round(picture.shape[0] * width / picture.shape[1])
    return np.asarray(to_image(picture).resize((width, height), Image.Resampling.BICUBIC), np.float32)


def sensor_noise(picture: Picture, deviation: float, random: Generator) -> Picture:
    """Adds the Gaussian noise of a sensor in dim light, `deviation` grey levels, independent for each channel."""
    tile = random.normal(0, deviation, (min(picture.shape[0], 512), min(picture.shape[1], 512), 3)).astype(np.float32)
    down, right = -(-picture.shape[0] // tile.shape[0]), -(-picture.shape[1] // tile.shape[1])
    return picture + np.tile(tile, (down, right, 1))[: picture.shape[0], : picture.shape[1]]


def to_image(picture: Picture) -> Image.Image:
    """The picture with 8 bits per channel."""
    return Image.fromarray(picture.clip(0, 255).round().astype(np.uint8))


def encode_png(picture: Picture) -> bytes:
    """A PNG file, as from a screenshot or scan."""
    file = io.BytesIO()
    to_image(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()


def encode_jpeg(picture: Picture, quality: int = 88) -> bytes:
    """A JPEG file, as from a camera or a chat app."""
    file = io.BytesIO()
    to_image(picture).save(file, "JPEG", quality=quality)
    return file.getvalue()
