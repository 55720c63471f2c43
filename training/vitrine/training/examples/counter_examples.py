"""Counter-examples: generated images without a digit, and printed digits, added to the training data.

Without them a network is as confident on a letter as on a digit, because it has seen nothing else (outlier exposure, D.
Hendrycks et al. 2019, arXiv:1812.04606). Printed digits are added so that the network does not separate letters from
digits by their print. Written letters have the pens of written digits, so that it doesn't separate them by their lines.
"""

from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

import numpy as np

from vitrine.model import DIGITS, PIXELS_SHAPE, Shape
from vitrine.training import drawn, pens
from vitrine.training.data import Examples
from vitrine.training.data.cache import code_key, prepare_all
from vitrine.training.drawn import Drawn
from vitrine.training.rendering import letters, midlines, nondigits, scripts, skeletons, splines
from vitrine.training.rendering.nondigits import EXPOSURE_SETS, draw_non_digits, draw_printed_digits
from vitrine.training.rendering.nondigits.page import GreyImage
from vitrine.training.rendering.stress import scene, strokes

WEIGHTS = MappingProxyType(
    {
        **dict.fromkeys(EXPOSURE_SETS, 1),
        "letters": 3,
        "near_twins": 2,
        "greek": 2,
        "written_letters": 6,
        "written_greek": 4,
        "written_scripts": 3,
    }
)
"""Number of images of each set relative to the others. Letters are the hardest sets: they resemble digits most, and
those that are written most of all."""

CACHE_NAME = "counter-examples"
"""Name in the progress bar and in the cache."""

SEED = 0
"""The same for every run, so that the images can be cached."""

PRINTED_SHARE = 0.25
"""Number of printed digits per image without a digit."""


def counter_examples(
    count: int, classes: tuple[str, ...] = DIGITS, shape: Shape = PIXELS_SHAPE, *, progress: bool = True
) -> Examples:
    """About `count` images without a digit and, for digits, a quarter as many printed digits; identical for every call.

    Args:
        count: number of images without a digit in all exposure sets together, at least 1.
        classes: classes of the data set.
        shape: height and width of the pixels.
        progress: True shows a progress bar.

    Returns:
        Prepared images with their originals. Printed digits have labels 0 to 9, all others the number of classes.
    """
    counts = [max(1, round(count * WEIGHTS[name] / sum(WEIGHTS.values()))) for name in EXPOSURE_SETS]
    printed = max(len(DIGITS), round(PRINTED_SHARE * count)) if classes == DIGITS else 0
    labels = np.concatenate((np.full(sum(counts), len(classes)), np.arange(printed) % len(DIGITS))).astype(np.int64)
    images = _drawings(counts, printed)
    prepared = prepare_all(images, _key(counts, printed), CACHE_NAME, shape, progress=progress)
    return Examples(prepared.pixels, labels, prepared.originals)


def _drawings(counts: list[int], printed: int) -> Drawn[GreyImage]:
    """The images of all exposure sets, one set after the other, and then the printed digits."""
    sets = [
        draw_non_digits(name, number, SEED, part="exposure") for name, number in zip(EXPOSURE_SETS, counts, strict=True)
    ]
    sets.append(draw_printed_digits(printed, SEED, "exposure"))
    ends = np.cumsum([len(images) for images in sets])

    def draw(position: int) -> GreyImage:
        place = int(np.searchsorted(ends, position, side="right"))
        return sets[place][position - int(ends[place]) + len(sets[place])]

    return Drawn(int(ends[-1]), draw)


def drawing_code() -> list[Path]:
    """Source files that decide the look of the images."""
    drawing = (drawn, letters, midlines, pens, scene, scripts, skeletons, splines, strokes)
    return [
        *sorted(Path(str(nondigits.__file__)).parent.glob("*.py")),
        *(Path(str(module.__file__)) for module in drawing),
    ]


def _key(counts: list[int], printed: int) -> str:
    """Cache key of the prepared images: their numbers, and the code that draws them."""
    return code_key(f"{counts} {printed} {SEED} matplotlib {version('matplotlib')}", drawing_code())
