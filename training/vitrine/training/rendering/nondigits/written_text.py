"""Letters that are written by hand: with the pens and in the lines of digits, so that only their shape tells them.

Some are skeletons that were made as a hand writes. The others follow the middle lines of printed letters, which gives a
letter as many forms as it has fonts.
"""

from functools import lru_cache
from pathlib import Path

from numpy.random import Generator

from vitrine.training.pens import draw_by_chance
from vitrine.training.rendering.midlines import skeleton_of
from vitrine.training.rendering.nondigits.alphabets import TWINS
from vitrine.training.rendering.nondigits.fonts import glyph
from vitrine.training.rendering.nondigits.kit import Kit
from vitrine.training.rendering.nondigits.page import GreyImage
from vitrine.training.rendering.nondigits.printed_text import one_character
from vitrine.training.rendering.skeletons import Skeleton, write

FREE_SHARE = 0.6
"""Share of letters that follow a skeleton made as a hand writes, where the part has one of the letter."""


def written_letters(kit: Kit, random: Generator) -> GreyImage:
    """A Latin letter, small or capital."""
    return one_written(kit.letters[random.integers(len(kit.letters))], kit, random)


def written_greek(kit: Kit, random: Generator) -> GreyImage:
    """A Greek letter, small or capital."""
    return one_written(kit.greek[random.integers(len(kit.greek))], kit, random)


def written_scripts(kit: Kit, random: Generator) -> GreyImage:
    """A character of another script."""
    return one_written(kit.scripts[random.integers(len(kit.scripts))], kit, random)


def near_twins(kit: Kit, random: Generator) -> GreyImage:
    """A letter that looks like a digit, but less than a twin does; printed or written by hand."""
    return _either(kit.near_twins, kit, random)


def twins(kit: Kit, random: Generator) -> GreyImage:
    """A Latin letter that is a digit's twin, printed or written by hand."""
    return _either(TWINS, kit, random)


def _either(letters: str, kit: Kit, random: Generator) -> GreyImage:
    letter = letters[random.integers(len(letters))]
    return one_written(letter, kit, random) if random.random() < 0.5 else one_character(letter, kit, random)


def one_written(character: str, kit: Kit, random: Generator) -> GreyImage:
    """A character, written with a pen of any kind: uint8 (H, W), 0 = black and 255 = white."""
    return 255 - draw_by_chance(write(_skeleton(character, kit, random), random), random)


def _skeleton(character: str, kit: Kit, random: Generator) -> Skeleton:
    free = kit.skeletons.get(character)
    fonts = kit.fonts_for(character)
    if free and (not fonts or random.random() < FREE_SHARE):
        return free
    return _midlines(character, fonts[random.integers(len(fonts))])


@lru_cache(maxsize=4096)
def _midlines(character: str, font: Path) -> Skeleton:
    return skeleton_of(glyph(character, font) > 127)
