"""Draws the most wrong examples side by side, the worst first, each with what it is and what it was taken for."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from vitrine.training.atomic import atomic_file
from vitrine.training.report.mistakes import Mistake

COLUMNS = 10
"""How many stand in a row."""

SCALE = 5
"""How many pixels of the sheet show one of the network's, in each direction."""

CELL = (112, 140)
"""The width and height of an example's place, in pixels."""

BACKGROUND, TEXT, WRONG, UNSURE = "#f4f5f7", "#1f2430", "#b3402a", "#6b7280"
"""Colours: the sheet, the digit that is shown, and what it was taken for, where that is wrong and where it is right."""


def draw_contact_sheet(mistakes: Sequence[Mistake], path: Path) -> None:
    """Writes it as PNG; without any mistake, a sheet with one empty place."""
    rows = max(-(-len(mistakes) // COLUMNS), 1)
    columns = min(max(len(mistakes), 1), COLUMNS)
    sheet = Image.new("RGB", (columns * CELL[0], rows * CELL[1]), BACKGROUND)
    for place, mistake in enumerate(mistakes):
        row, column = divmod(place, COLUMNS)
        _draw(sheet, mistake, column * CELL[0], row * CELL[1])
    with atomic_file(path) as file:
        sheet.save(file, "PNG", optimize=True)


def _draw(sheet: Image.Image, mistake: Mistake, left: int, top: int) -> None:
    """One example: its pixels as ink on white paper, and two lines below."""
    paper = Image.fromarray(255 - mistake.pixels)
    side = SCALE * len(mistake.pixels)
    margin = (CELL[0] - side) // 2
    sheet.paste(paper.resize((side, side), Image.Resampling.NEAREST), (left + margin, top + margin))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    middle, below = left + CELL[0] // 2, top + margin + side + 4
    draw.text((middle, below), f"is {mistake.label}", TEXT, font, anchor="ma")
    taken, colour = f"{mistake.taken_for} with {mistake.probability:.0%}", WRONG if mistake.wrong else UNSURE
    draw.text((middle, below + 14), taken, colour, font, anchor="ma")
