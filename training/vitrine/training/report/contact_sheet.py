"""Draws examples side by side, each as the network sees it, with two lines of words below.

It knows two sheets: what a network is most wrong about, and what shows no digit and passes for one most easily.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from vitrine.model import DIGITS, Pixels
from vitrine.training.files.atomic import atomic_file
from vitrine.training.report.mistakes import Mistake
from vitrine.training.report.novelty import Novelty, SetOutcome

COLUMNS = 10
"""How many stand in a row."""

SIDE = 90
"""The longer side of an example, in pixels of the sheet: 5 for each of 18."""

CELL = (112, 140)
"""The width and height of an example's place, in pixels."""

MARGIN = 120
"""The width of the column with the rows' names, where they have some."""

BACKGROUND, TEXT, BAD, FINE = "#f4f5f7", "#1f2430", "#b3402a", "#6b7280"
"""Colours: the sheet, names and first lines, and second lines that tell of a mistake or of none."""


@dataclass(frozen=True, slots=True, eq=False)
class _Cell:
    """One example."""

    pixels: Pixels
    first: str
    second: str
    bad: bool


def draw_most_wrong(mistakes: Sequence[Mistake], path: Path) -> None:
    """Writes a sheet of mistakes as PNG, in their order; without any, a sheet with an empty row."""
    cells = [
        _Cell(each.pixels, f"is {each.label}", f"{each.taken_for} with {each.probability:.0%}", each.wrong)
        for each in mistakes
    ]
    _draw([("", cells[start : start + COLUMNS]) for start in range(0, max(len(cells), 1), COLUMNS)], path)


def draw_least_novel(novelty: Novelty, path: Path) -> None:
    """Writes a sheet as PNG: a row for each set, with the images that pass for digits most easily."""
    _draw([(outcome.name, _least_novel(outcome, novelty.threshold)) for outcome in novelty.sets], path)


def _least_novel(outcome: SetOutcome, threshold: float) -> list[_Cell]:
    chosen = outcome.scores.argsort(kind="stable")[:COLUMNS]
    return [
        _Cell(
            outcome.pixels[number],
            f"{DIGITS[outcome.probabilities[number].argmax()]} with {outcome.probabilities[number].max():.0%}",
            f"novelty {outcome.scores[number]:.1f}",
            bool(outcome.scores[number] <= threshold),
        )
        for number in chosen
    ]


def _draw(rows: Sequence[tuple[str, Sequence[_Cell]]], path: Path) -> None:
    margin = MARGIN if any(name for name, _ in rows) else 0
    width, height = CELL
    sheet = Image.new("RGB", (margin + COLUMNS * width, len(rows) * height), BACKGROUND)
    for row, (name, cells) in enumerate(rows):
        ImageDraw.Draw(sheet).text((12, (row + 0.4) * height), name, TEXT, ImageFont.load_default(14), anchor="lm")
        for column, cell in enumerate(cells):
            _draw_cell(sheet, cell, margin + column * width, row * height)
    with atomic_file(path) as file:
        sheet.save(file, "PNG", optimize=True)


def _draw_cell(sheet: Image.Image, cell: _Cell, left: int, top: int) -> None:
    """One example: its pixels as ink on white paper, and two lines below."""
    side, space = SIDE, (CELL[0] - SIDE) // 2
    width, height = (max(1, side * extent // max(cell.pixels.shape)) for extent in reversed(cell.pixels.shape))
    paper = Image.fromarray(255 - cell.pixels).resize((width, height), Image.Resampling.NEAREST)
    sheet.paste(paper, (left + (CELL[0] - width) // 2, top + space + (side - height) // 2))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    middle, below = left + CELL[0] // 2, top + space + side + 4
    draw.text((middle, below), cell.first, TEXT, font, anchor="ma")
    draw.text((middle, below + 15), cell.second, BAD if cell.bad else FINE, font, anchor="ma")
