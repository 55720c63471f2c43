"""Counter-examples: made images that show no digit, and printed digits, which a fit may learn from beside a data set.

Without them a network is as sure of a letter as of a digit: it has never seen anything else (outlier exposure,
D. Hendrycks et al. 2019, arXiv:1812.04606). Printed digits go with them, or print itself would tell letters from
digits.
"""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

from vitrine.model import DIGITS, PIXELS_SHAPE, ImageSource, Shape
from vitrine.training.data import Examples
from vitrine.training.data.cache import code_key, prepare_all
from vitrine.training.rendering import nondigits
from vitrine.training.rendering.nondigits import EXPOSURE_SETS, draw_non_digits, draw_printed_digits
from vitrine.training.rendering.stress import scene, strokes

LETTERS = 3
"""How many times as many letters there are as images of any other set: they are nearest to digits."""

NAME = "counter-examples"
"""What their progress bar and their cached file are called."""

SEED = 0
"""They are the same for every run, as a data set is."""

PRINTED = 0.25
"""How many printed digits there are for each image without a digit."""


def counter_examples(
    count: int, classes: tuple[str, ...] = DIGITS, shape: Shape = PIXELS_SHAPE, *, progress: bool = True
) -> Examples:
    """About `count` images without a digit, and for digits a quarter as many printed ones; the same every time.

    Args:
        count: the number of images without a digit, at least 1, of all sets of the exposure.
        classes: the classes of the data set that they are for.
        shape: height and width of the pixels.
        progress: whether to show a bar.

    Returns:
        Prepared, with their originals. Labels are 0 to 9 for printed digits, and else the number of classes.
    """
    shares = [LETTERS if name == "letters" else 1 for name in EXPOSURE_SETS]
    counts = [max(1, round(count * share / sum(shares))) for share in shares]
    printed = max(len(DIGITS), round(PRINTED * count)) if classes == DIGITS else 0
    labels = np.concatenate((np.full(sum(counts), len(classes)), np.arange(printed) % len(DIGITS))).astype(np.int64)
    prepared = prepare_all(_draw(counts, printed), len(labels), _key(counts, printed), NAME, shape, progress=progress)
    return Examples(prepared.pixels, labels, prepared.originals)


def _draw(counts: list[int], printed: int) -> Iterator[ImageSource]:
    for name, number in zip(EXPOSURE_SETS, counts, strict=True):
        yield from draw_non_digits(name, number, SEED, part="exposure")
    yield from draw_printed_digits(printed, SEED, "exposure")


def drawing_code() -> list[Path]:
    """The files that decide what the images look like."""
    light = (Path(str(module.__file__)) for module in (scene, strokes))
    return [*sorted(Path(str(nondigits.__file__)).parent.glob("*.py")), *light]


def _key(counts: list[int], printed: int) -> str:
    """What the images are found by once they are prepared: how many, and the code that draws them."""
    return code_key(f"{counts} {printed} {SEED} matplotlib {version('matplotlib')}", drawing_code())
