"""Images that show no digit, generated from a seed: counter-examples for training, and test images for novelty.

`sketch` and `fonts` draw marks, and `page` places them on paper. `shapes`, `scribbles`, `faces`, `printed_text` and
`textures` define the motifs, `written_text` letters in the lines of digits, `alphabets` the letters of each set, `kit`
the choices of each part, and `sets` all sets by name.
"""

from vitrine.training.rendering.nondigits.alphabets import GREEK_LOOK_ALIKES, LETTERS, LOOK_ALIKES, TWINS
from vitrine.training.rendering.nondigits.kit import Part
from vitrine.training.rendering.nondigits.sets import (
    EXPOSURE_SETS,
    LOOK_ALIKE_SETS,
    NON_DIGITS,
    draw_non_digits,
    draw_printed_digits,
    make_non_digits,
    printed_digits,
)

__all__ = [
    "EXPOSURE_SETS",
    "GREEK_LOOK_ALIKES",
    "LETTERS",
    "LOOK_ALIKES",
    "LOOK_ALIKE_SETS",
    "NON_DIGITS",
    "TWINS",
    "Part",
    "draw_non_digits",
    "draw_printed_digits",
    "make_non_digits",
    "printed_digits",
]
