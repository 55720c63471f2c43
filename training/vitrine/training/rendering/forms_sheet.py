"""A sheet of all forms of digits, to look at: a row for each, written by many hands with many pens."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vitrine.training.pens import draw, random_pen
from vitrine.training.rendering.forms import FORMS, write_form

CELL = 56
"""The side of a drawing, in pixels."""

GAP = 2
"""Pixels between drawings."""

MARGIN = 180
"""The width of the column with the forms' names, in pixels."""

BACKGROUND, TEXT = 226, 40
"""Grey levels of the sheet and of the names."""


def draw_forms(columns: int = 12, seed: int = 0) -> Image.Image:
    """Draws a sheet of `FORMS`, a row for each with its name and `columns` drawings: a grey image, dark on light."""
    random = np.random.default_rng(seed)
    pitch = CELL + GAP
    sheet = Image.new("L", (MARGIN + columns * pitch, len(FORMS) * pitch), BACKGROUND)
    canvas, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for row, name in enumerate(FORMS):
        canvas.text((8, (row + 0.36) * pitch), name, TEXT, font)
        for column in range(columns):
            ink = draw(write_form(name, random), random_pen(random), CELL, random)
            sheet.paste(Image.fromarray(255 - ink), (MARGIN + column * pitch, row * pitch + GAP // 2))
    return sheet
