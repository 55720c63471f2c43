"""Printed letters, words and numbers: readable, but not a digit.

Letters that people read as a digit are left out, because their correct label would be disputable.
"""

from pathlib import Path

from numpy.random import Generator
from PIL import Image

from vitrine.model import DIGITS
from vitrine.training.rendering.nondigits.alphabets import CAPITALS, LETTERS, SMALL
from vitrine.training.rendering.nondigits.fonts import distort, render_text, render_touching_text
from vitrine.training.rendering.nondigits.kit import Kit
from vitrine.training.rendering.nondigits.page import GreyImage, place_on_page
from vitrine.training.rendering.nondigits.sketch import random_distortion

MAX_TURN = 0.2
"""Largest rotation of text, in radians."""


def letters(kit: Kit, random: Generator) -> GreyImage:
    """A Latin letter, small or capital."""
    return one_character(kit.letters[random.integers(len(kit.letters))], kit, random)


def greek(kit: Kit, random: Generator) -> GreyImage:
    """A Greek letter, small or capital."""
    return one_character(kit.greek[random.integers(len(kit.greek))], kit, random)


def other_scripts(kit: Kit, random: Generator) -> GreyImage:
    """A letter of another script that a font of the kit has."""
    printed = [letter for letter in kit.scripts if kit.fonts_for(letter)]
    return one_character(printed[random.integers(len(printed))], kit, random)


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
    font = _font(kit, random, kit.fonts_for(character))
    return place_on_page(_distorted(render_text(character, *font), random), random)


def _font(kit: Kit, random: Generator, among: tuple[Path, ...] = ()) -> tuple[Path, int]:
    """A random font of the kit's or of some of them, and the widening of its strokes."""
    fonts = among or kit.fonts
    return fonts[random.integers(len(fonts))], int(random.integers(4))


def _distorted(mark: Image.Image, random: Generator) -> Image.Image:
    return distort(mark, random_distortion(random, MAX_TURN))
