"""Letters, words and numbers in print: what is read, and is no digit.

A letter that people read as a digit when it stands alone is left out: nobody could say which it is.
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
    "0": "DOQo",  # round and closed; Q's tail is short, and D has two corners at most
    "1": "IJijl",  # a single stroke, with serifs or without; dot and hook are often lost in handwriting
    "2": "Zz",  # many write a 2 in just three straight strokes
    "4": "Yy",  # a 4 that is open on top, with its stem in the middle or slanting
    "5": "Ss",  # a 5 in one stroke
    "6": "Gb",  # b is a 6 in most hands, and G one whose loop isn't closed
    "8": "B",  # two loops, one above the other; its straight side is as in an angular 3 or 8
    "9": "agq",  # a loop with a stem to its right; in other fonts g is an 8, and a has the curves of a 2
}
"""Letters that are left out, by the digit whose shape they have. Judged by shape alone, and by no network's result.

A letter's size is lost when an image is prepared, so that small and capital letters count alike. Letters that are a
digit's mirror image or upside down stay in: nobody reads a d, P or h as a digit.
"""

LETTERS = "".join(letter for letter in ascii_letters if not any(letter in alike for alike in LOOK_ALIKES.values()))
"""The letters that are left."""

CAPITALS = "".join(letter for letter in LETTERS if letter.isupper())
SMALL = "".join(letter for letter in LETTERS if letter.islower())

MAX_TURN = 0.2
"""How far texts are turned at most, in radians."""


def letters(kit: Kit, random: Generator) -> GreyImage:
    """A Latin letter, small or capital."""
    return one_character(kit.letters[random.integers(len(kit.letters))], kit, random)


def words(kit: Kit, random: Generator) -> GreyImage:
    """Two to six letters in a row, which needn't mean anything; none has a digit's shape, so no part of it has."""
    case = (CAPITALS, SMALL, LETTERS)[random.integers(3)]
    text = "".join(case[number] for number in random.integers(len(case), size=random.integers(2, 7)))
    return place_on_page(_distorted(render_text(text, *_font(kit, random)), random), random)


def several_digits(kit: Kit, random: Generator) -> GreyImage:
    """A number of two to four digits, each of which touches the next: it isn't any one digit."""
    text = "".join(DIGITS[number] for number in random.integers(10, size=random.integers(2, 5)))
    return place_on_page(_distorted(render_touching_text(text, *_font(kit, random)), random), random)


def one_character(character: str, kit: Kit, random: Generator) -> GreyImage:
    """A letter or a digit in print."""
    return place_on_page(_distorted(render_text(character, *_font(kit, random)), random), random)


def _font(kit: Kit, random: Generator) -> tuple[Path, int]:
    """Any font, and by how much it is made bolder."""
    return kit.fonts[random.integers(len(kit.fonts))], int(random.integers(4))


def _distorted(mark: Image.Image, random: Generator) -> Image.Image:
    return distort(mark, random_distortion(random, MAX_TURN))
