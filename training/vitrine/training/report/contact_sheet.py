"""Draws contact sheets: images as the network sees them, with two lines of text below each.

There are three sheets: the worst mistakes, the hardest images of each source and form, and the images without a digit
that resemble digits most.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from vitrine.model import DIGITS, Pixels
from vitrine.training.files.atomic import atomic_file
from vitrine.training.report.handwriting import GroupResult
from vitrine.training.report.mistakes import Mistake
from vitrine.training.report.novelty import NoveltyReport, SetResult

COLUMNS = 10
"""Images per row."""

SIDE = 90
"""Longer side of an image on the sheet, in pixels: 5 for each of 18."""

CELL = (112, 140)
"""Width and height of an image's cell, in pixels."""

MARGIN = 190
"""Width of the column with the rows' names if there are any, in pixels."""

BACKGROUND, TEXT, BAD, FINE = "#f4f5f7", "#1f2430", "#b3402a", "#6b7280"
"""Colours of the sheet, of names and first lines, and of second lines that report a mistake or none."""


@dataclass(frozen=True, slots=True, eq=False)
class _Cell:
    """One image with its text."""

    pixels: Pixels
    first: str
    second: str
    bad: bool


def draw_most_wrong(mistakes: Sequence[Mistake], path: Path) -> None:
    """Writes a sheet of mistakes as PNG, in the given order. Without any, the sheet has one empty row."""
    cells = [_mistake(each) for each in mistakes]
    _draw([("", cells[start : start + COLUMNS]) for start in range(0, max(len(cells), 1), COLUMNS)], path)


def draw_hardest(groups: Sequence[GroupResult], path: Path) -> None:
    """Writes a sheet as PNG: one row per source or form, with its images of highest loss."""
    _draw([(group.name, [_mistake(each) for each in group.hardest[:COLUMNS]]) for group in groups], path)


def _mistake(mistake: Mistake) -> _Cell:
    taken_for = f"{mistake.taken_for}, {mistake.probability:.0%}"
    return _Cell(mistake.pixels, f"label {mistake.label}", taken_for, mistake.wrong)


def draw_least_novel(novelty: NoveltyReport, path: Path) -> None:
    """Writes a sheet as PNG: one row per set, with the images of lowest novelty."""
    _draw(
        [(result.name, _least_novel(result, novelty.threshold)) for result in (*novelty.sets, *novelty.look_alikes)],
        path,
    )


def _least_novel(result: SetResult, threshold: float) -> list[_Cell]:
    chosen = result.scores.argsort(kind="stable")[:COLUMNS]
    return [
        _Cell(
            result.pixels[number],
            f"{DIGITS[result.probabilities[number].argmax()]}, {result.probabilities[number].max():.0%}",
            f"novelty {result.scores[number]:.1f}",
            bool(result.scores[number] <= threshold),
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
    """Draws one image as ink on white paper, with two lines below."""
    side, space = SIDE, (CELL[0] - SIDE) // 2
    width, height = (max(1, side * extent // max(cell.pixels.shape)) for extent in reversed(cell.pixels.shape))
    paper = Image.fromarray(255 - cell.pixels).resize((width, height), Image.Resampling.NEAREST)
    sheet.paste(paper, (left + (CELL[0] - width) // 2, top + space + (side - height) // 2))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    middle, below = left + CELL[0] // 2, top + space + side + 4
    draw.text((middle, below), cell.first, TEXT, font, anchor="ma")
    draw.text((middle, below + 15), cell.second, BAD if cell.bad else FINE, font, anchor="ma")
