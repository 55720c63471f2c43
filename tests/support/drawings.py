"""Draws a small data set that has no digits: arrows, as PNG files in one folder for each direction."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from support.artifacts import ARROWS

PAGE = (96, 64)
"""Width and height of a drawing."""

TURNS = {"right": 0, "down": 90, "left": 180, "up": 270}
"""Degrees clockwise from an arrow that points right."""


def draw_arrow(direction: str, random: np.random.Generator) -> Image.Image:
    """A grey page with one dark arrow, a little different each time."""
    image = Image.new("L", PAGE, int(random.integers(220, 256)))
    angle = np.deg2rad(TURNS[direction] + random.uniform(-8, 8))
    centre = np.array(PAGE) / 2 + random.uniform(-5, 5, 2)
    ahead = random.uniform(17, 24) * np.array((np.cos(angle), np.sin(angle)))
    aside = random.uniform(0.35, 0.5) * np.array((-ahead[1], ahead[0]))
    tail, head, neck = centre - ahead, centre + ahead, centre + ahead * 0.35
    draw, ink, width = ImageDraw.Draw(image), int(random.integers(0, 60)), int(random.integers(3, 7))
    draw.line([*tail, *head], ink, width)
    draw.line([*(neck + aside), *head, *(neck - aside)], ink, width, joint="curve")
    return image


def draw_arrows(folder: Path, count: int = 30, seed: int = 0) -> Path:
    """Writes `count` arrows of each direction as DIRECTION/NUMBER.png; gives the folder."""
    random = np.random.default_rng(seed)
    for direction in ARROWS:
        (folder / direction).mkdir(parents=True)
        for number in range(count):
            draw_arrow(direction, random).save(folder / direction / f"{number}.png")
    return folder
