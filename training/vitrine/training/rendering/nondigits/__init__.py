"""Images that show no digit, generated from a seed: counter-examples for training, and test images for novelty.

`sketch` and `fonts` draw marks, and `page` places them on paper. `shapes`, `scribbles`, `faces`, `printed_text` and
`textures` define the motifs, `kit` the choices of each part, and `sets` all sets by name.
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
