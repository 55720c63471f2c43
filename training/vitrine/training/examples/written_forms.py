"""Written forms of digits that data lack or have too few of, added to the training data.

A slash in the 0, an upstroke of the 1, a curled tail of the 9: `forms` writes them, and `pens` draws them.
"""

from pathlib import Path

import numpy as np

from vitrine.model import DIGITS, PIXELS_SHAPE, Shape
from vitrine.training import pens
from vitrine.training.data import Examples
from vitrine.training.data.cache import code_key, prepare_all
from vitrine.training.drawn import Drawn
from vitrine.training.pens import Drawing, draw_by_chance
from vitrine.training.rendering import forms, skeletons, splines
from vitrine.training.rendering.forms import FORMS, write_form

CACHE_NAME = "forms"
"""Name in the progress bar and in the cache."""

SEED = 0
"""The seed of the forms that are learnt from; the same for every run, so that they can be cached."""


def written_forms(count: int, shape: Shape = PIXELS_SHAPE, seed: int = SEED, *, progress: bool = True) -> Examples:
    """Written forms, as many of each digit, and of each digit as many of each form; identical for every call.

    Args:
        count: number of forms, at least 1.
        shape: height and width of the pixels.
        seed: seed of all random numbers; another one than `SEED` gives forms that no fit learns from.
        progress: True shows a progress bar.

    Returns:
        Prepared images with their originals. Sources are the forms' names.
    """
    names = form_names(count)
    labels = np.array([FORMS[name].digit for name in names], np.int64)
    prepared = prepare_all(_drawings(names, seed), _key(count, seed), CACHE_NAME, shape, progress=progress)
    return Examples(prepared.pixels, labels, prepared.originals, sources=np.array(names))


def form_names(count: int) -> list[str]:
    """The names of `count` forms: digits take turns, and so do the forms of each digit."""
    of_digit = [[name for name, form in FORMS.items() if form.digit == digit] for digit in range(len(DIGITS))]
    return [(names := of_digit[place % len(DIGITS)])[place // len(DIGITS) % len(names)] for place in range(count)]


def _drawings(names: list[str], seed: int) -> Drawn[Drawing]:
    def draw(place: int) -> Drawing:
        random = np.random.default_rng((seed, place))
        return draw_by_chance(write_form(names[place], random), random)

    return Drawn(len(names), draw)


def _key(count: int, seed: int) -> str:
    """Cache key of the prepared images: their number, and the code that writes and draws them."""
    return code_key(f"{count} {seed}", drawing_code())


def drawing_code() -> list[Path]:
    """Source files that decide the look of the forms."""
    return [Path(str(module.__file__)) for module in (forms, pens, skeletons, splines)]
