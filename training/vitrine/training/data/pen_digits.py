"""UNIPEN's digits as a data set: each drawn with several pens, and some writers of each contributor held out.

It knows neither how a pen draws nor how the distribution is read.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vitrine.model import DIGITS, PIXELS_SHAPE, Shape
from vitrine.training import pens
from vitrine.training.data.cache import code_key, prepare_all
from vitrine.training.data.examples import Dataset, Examples
from vitrine.training.data.unipen import WrittenCharacter, is_part, load_unipen, without_repeats
from vitrine.training.drawn import Drawn
from vitrine.training.errors import DataError
from vitrine.training.pens import Drawing, draw_by_chance

DRAWINGS = 8
"""Drawings of each digit, each with another pen. A fit chooses how many of them it learns from."""

TEST_EVERY = 5
"""One writer of so many of each contributor is held out, those with the fewest digits first."""

SEED = 0
"""The same for every run, so that the drawings can be cached."""


def load_pen_digits(pen_data: Path | None = None, shape: Shape = PIXELS_SHAPE, *, progress: bool = True) -> Dataset:
    """UNIPEN's digits, drawn and prepared, a fifth of each contributor's writers held out.

    Repeated drawings and drawings that may be part of a digit are left out: see `without_repeats` and `is_part`.

    Args:
        pen_data: where UNIPEN is, as for `load_unipen`.
        shape: height and width of the pixels.
        progress: whether to show bars.

    Returns:
        `DRAWINGS` examples of each digit, with writers, drawings, and sources such as `unipen/ibm`.

    Raises:
        DataError: the distribution is missing, damaged, or has too few writers to hold some out.
    """
    written = [character for character in without_repeats(load_unipen(pen_data)) if not is_part(character)]
    examples = draw_digits(written, shape, progress=progress)
    held_out = np.repeat(_of_held_out_writers(written), DRAWINGS)
    if held_out.all() or not held_out.any():
        raise DataError(f"UNIPEN's digits are of {len({each.writer for each in written})} writers: too few to hold out")
    return Dataset("unipen", examples[np.flatnonzero(~held_out)], examples[np.flatnonzero(held_out)], source="unipen")


def draw_digits(written: Sequence[WrittenCharacter], shape: Shape = PIXELS_SHAPE, *, progress: bool = True) -> Examples:
    """Draws each digit `DRAWINGS` times, with pens of all kinds and widths; the same every time, and cached.

    Args:
        written: the digits, at least one.
        shape: height and width of the pixels.
        progress: whether to show a bar.

    Returns:
        The drawings of one digit after those of another, with writers, sources and drawings. A contributor's writers
        have ascending numbers, those with fewer digits first.
    """
    prepared = prepare_all(_drawings(written), _key(written), "unipen", shape, progress=progress)
    numbers = {name: number for number, name in enumerate(_ranked(written))}
    columns = (
        np.array([DIGITS.index(each.label) for each in written], np.int64),
        np.array([numbers[each.writer] for each in written], np.int64),
        np.array([f"unipen/{each.contributor}" for each in written]),
    )
    labels, writers, sources = (np.repeat(column, DRAWINGS) for column in columns)
    drawings = np.tile(np.arange(DRAWINGS), len(written))
    return Examples(prepared.pixels, labels, prepared.originals, writers, sources, drawings)


def _drawings(written: Sequence[WrittenCharacter]) -> Drawn[Drawing]:
    def draw(position: int) -> Drawing:
        place, drawing = divmod(position, DRAWINGS)
        return draw_by_chance(written[place].strokes, np.random.default_rng((SEED, place, drawing)))

    return Drawn(DRAWINGS * len(written), draw)


def _key(written: Sequence[WrittenCharacter]) -> str:
    """Cache key of the drawings: the strokes, and the code of the pens."""
    digest = hashlib.sha256()
    for character in written:
        digest.update(b"|".join(stroke.tobytes() for stroke in character.strokes) + b"\n")
    return code_key(f"{digest.hexdigest()} {DRAWINGS} {SEED}", [Path(str(pens.__file__))])


def _of_held_out_writers(written: Sequence[WrittenCharacter]) -> npt.NDArray[np.bool_]:
    """Of each contributor, every so many writers from the one with the fewest digits on: bool (N,).

    The most prolific writers of a contributor with few of them are learnt from.
    """
    writers = defaultdict(list)
    for name in _ranked(written):
        writers[name.split("/")[0]].append(name)
    held_out = {name for names in writers.values() for name in names[::TEST_EVERY]}
    return np.array([each.writer in held_out for each in written])


def _ranked(written: Sequence[WrittenCharacter]) -> list[str]:
    """The writers' names, by contributor and number of digits, ascending."""
    digits = Counter(each.writer for each in written)
    return sorted(digits, key=lambda name: (name.split("/")[0], digits[name], name))
