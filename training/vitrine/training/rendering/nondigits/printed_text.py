"""Printed letters, words and numbers: readable, but not a digit.

Letters that people read as a digit are left out, because their correct label would be disputable.
"""

from collections.abc import Mapping
from pathlib import Path
from string import ascii_letters

from numpy.random import Generator
from PIL import Image

from vitrine.model import DIGITS
from vitrine.training.rendering.nondigits.fonts import distort, render_text, render_touching_text
from vitrine.training.rendering.nondigits.kit import Kit
from vitrine.training.rendering.nondigits.page import GreyImage, place_on_page
from vitrine.training.rendering.nondigits.sketch import random_distortion

LOOK_ALIKES: Mapping[str, str] = {
    "0": "DOQo",  # round and closed; Q has a short tail, and D two corners at most
    "1": "IJijl",  # a single stroke; dots and hooks are often omitted in handwriting
    "2": "Zz",  # many people write a 2 with three straight strokes
    "4": "Yy",  # a 4 with an open top
    "5": "Ss",  # a 5 in one stroke
    "6": "Gb",  # b is a handwritten 6, and G a 6 with an open loop
    "8": "B",  # two loops on top of each other
    "9": "agq",  # a loop with a stem to its right; in some fonts g looks like an 8, and a like a 2
}
"""Excluded letters, by the digit they look like. They were chosen by shape alone, not by any network's output.

Preparation removes a letter's size, so small and capital letters count alike. Letters that look like a mirrored or
rotated digit stay in: nobody reads d, P or h as a digit.
"""

LETTERS = "".join(letter for letter in ascii_letters if not any(letter in alike for alike in LOOK_ALIKES.values()))
"""The remaining letters."""

CAPITALS = "".join(letter for letter in LETTERS if letter.isupper())
SMALL = "".join(letter for letter in LETTERS if letter.islower())

MAX_TURN = 0.2
"""Largest rotation of text, in radians."""


def letters(kit: Kit, random: Generator) -> GreyImage:
    """A Latin letter, small or capital."""
    return one_character(kit.letters[random.integers(len(kit.letters))], kit, random)


def words(kit: Kit, random: Generator) -> GreyImage:
    """Two to six random letters in a row. No letter looks like a digit, so no part of the word does."""
    case = (CAPITALS, SMALL, LETTERS)[random.integers(3)]
    text = "".join(case[number] for number in random.integers(len(case), size=random.integers(2, 7)))
    return place_on_page(_distorted(render_text(text, *_font(kit, random)), random), random)


def several_digits(kit: Kit, random: Generator) -> GreyImage:
    """A number of two to four touching digits, which is not a single digit."""
    text = "".join(DIGITS[number] for number in random.integers(10, size=random.integers(2, 5)))
    return place_on_page(_distorted(render_touching_text(text, *_font(kit, random)), random), random)


def one_character(character: str, kit: Kit, random: Generator) -> GreyImage:
    """A printed letter or digit."""
    return place_on_page(_distorted(render_text(character, *_font(kit, random)), random), random)


def _font(kit: Kit, random: Generator) -> tuple[Path, int]:
    """A random font, and the widening of its strokes."""
    return kit.fonts[random.integers(len(kit.fonts))], int(random.integers(4))


def _distorted(mark: Image.Image, random: Generator) -> Image.Image:
    return distort(mark, random_distortion(random, MAX_TURN))
