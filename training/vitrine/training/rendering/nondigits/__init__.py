"""Images that show no digit, made from a seed: what a model should refuse, to train it and to measure it.

`sketch` and `fonts` draw marks, and `page` puts them on paper; `shapes`, `scribbles`, `faces`, `writing` and `textures`
know what to draw, `kit` what each part draws with, and `sets` has it all by name.
"""

from vitrine.training.rendering.nondigits.kit import Part
from vitrine.training.rendering.nondigits.printed_text import LETTERS, LOOK_ALIKES
from vitrine.training.rendering.nondigits.sets import (
    EXPOSURE_SETS,
    NON_DIGITS,
    draw_non_digits,
    draw_printed_digits,
    make_non_digits,
    printed_digits,
)

__all__ = [
    "EXPOSURE_SETS",
    "LETTERS",
    "LOOK_ALIKES",
    "NON_DIGITS",
    "Part",
    "draw_non_digits",
    "draw_printed_digits",
    "make_non_digits",
    "printed_digits",
]
