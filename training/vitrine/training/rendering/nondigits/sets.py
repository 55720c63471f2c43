"""Sets of images that show no digit, and printed digits, which must be recognised as digits.

Image `number` of a set depends only on the seed, the part and Pillow's version, not on the number of images. This
module selects the motifs of each set, and does not draw them.
"""

import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from string import ascii_letters
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from tqdm import tqdm

from vitrine.model import DIGITS, PIXELS_SHAPE, Shape, prepare
from vitrine.training.drawn import Drawn
from vitrine.training.errors import ConfigError
from vitrine.training.rendering import letters as written
from vitrine.training.rendering import scripts
from vitrine.training.rendering.nondigits.alphabets import CYRILLIC, EASTERN, GREEK, LETTERS, NEAR, NEAR_GREEK
from vitrine.training.rendering.nondigits.faces import faces
from vitrine.training.rendering.nondigits.fonts import (
    EVALUATION_FONTS,
    EXPOSURE_FONTS,
    bundled_fonts,
    fonts_in,
)
from vitrine.training.rendering.nondigits.kit import Kit, Part
from vitrine.training.rendering.nondigits.page import GreyImage, place_on_page
from vitrine.training.rendering.nondigits.printed_text import (
    greek,
    letters,
    one_character,
    other_scripts,
    several_digits,
    words,
)
from vitrine.training.rendering.nondigits.scribbles import EVALUATION_SCRIBBLES, EXPOSURE_SCRIBBLES
from vitrine.training.rendering.nondigits.shapes import EVALUATION_SHAPES, EXPOSURE_SHAPES
from vitrine.training.rendering.nondigits.textures import EVALUATION_TEXTURES, EXPOSURE_TEXTURES, blank, noise
from vitrine.training.rendering.nondigits.written_text import (
    near_twins,
    twins,
    written_greek,
    written_letters,
    written_scripts,
)

ImageMaker: TypeAlias = Callable[[Kit, Generator], GreyImage]
"""Makes one image as a user would send it: uint8 (H, W), 0 = black and 255 = white."""


def shapes(kit: Kit, random: Generator) -> GreyImage:
    """A sign or simple object: a star, a horizontal arrow, a house."""
    return place_on_page(kit.shapes[random.integers(len(kit.shapes))](random), random)


def scribbles(kit: Kit, random: Generator) -> GreyImage:
    """Meaningless strokes."""
    return place_on_page(kit.scribbles[random.integers(len(kit.scribbles))](random), random)


NON_DIGITS: dict[str, ImageMaker] = {
    maker.__name__: maker
    for maker in (
        *(letters, greek, other_scripts, written_letters, written_greek, written_scripts),
        *(words, several_digits, shapes, scribbles, faces, noise, blank),
    )
}
"""All sets by name, in the order of the tables."""

LOOK_ALIKE_SETS: dict[str, ImageMaker] = {maker.__name__: maker for maker in (near_twins, twins)}
"""Sets of letters that look like a digit, which are measured apart from the others."""

EXPOSURE_SETS = (*(name for name in NON_DIGITS if name != "faces"), near_twins.__name__)
"""Sets for training. Faces are excluded, so that one whole set is new to every network, and so are digits' twins."""


def kit_for(part: Part, fonts: Path | None = None, look_alikes: bool = False) -> Kit:
    """The choices of a part.

    Args:
        part: `exposure` for training, `evaluation` for tests.
        fonts: folder of fonts to use instead of the part's own; fonts of the exposure are left out.
        look_alikes: True includes letters that look like digits.

    Raises:
        ConfigError: the folder has no usable font.
    """
    latin = ascii_letters if look_alikes else LETTERS
    if part == "exposure":
        fonts_of_part = bundled_fonts(EXPOSURE_FONTS)
        text = (latin, NEAR, GREEK, CYRILLIC + "".join(scripts.CHARACTERS))
        skeletons = {**written.LETTERS, **scripts.CHARACTERS}
        return Kit(part, fonts_of_part, (), *text, skeletons, EXPOSURE_SHAPES, EXPOSURE_SCRIBBLES, EXPOSURE_TEXTURES)
    spare = bundled_fonts(EVALUATION_FONTS)
    text = (latin, NEAR + NEAR_GREEK, GREEK, CYRILLIC + EASTERN)
    found = fonts_in(fonts) if fonts else spare
    return Kit(part, found, spare, *text, {}, EVALUATION_SHAPES, EVALUATION_SCRIBBLES, EVALUATION_TEXTURES)


def draw_non_digits(
    name: str, count: int, seed: int, *, part: Part, fonts: Path | None = None, look_alikes: bool = False
) -> Drawn[GreyImage]:
    """Draws the images of a set one by one when they are needed, as a user would send them.

    Args:
        name: a set of `NON_DIGITS` or `LOOK_ALIKE_SETS`; for the exposure, of `EXPOSURE_SETS`.
        count: number of images.
        seed: 0 or more.
        part: `exposure` for training, `evaluation` for tests; they share no image.
        fonts: see `kit_for`.
        look_alikes: see `kit_for`.

    Returns:
        `count` images, each uint8 (H, W), 0 = black and 255 = white.

    Raises:
        ConfigError: the part does not contain the set, or the folder has no usable font.
    """
    makers = NON_DIGITS | LOOK_ALIKE_SETS
    if name not in (EXPOSURE_SETS if part == "exposure" else makers):
        raise ConfigError(f"there is no set {name} for {part}")
    kit, make = kit_for(part, fonts, look_alikes), makers[name]
    return Drawn(count, lambda number: make(kit, _generator(name, part, seed, number)))


def make_non_digits(
    name: str,
    count: int,
    seed: int,
    *,
    part: Part,
    fonts: Path | None = None,
    look_alikes: bool = False,
    shape: Shape = PIXELS_SHAPE,
    progress: bool = False,
) -> npt.NDArray[np.uint8]:
    """Draws the images of a set and prepares them as a server does: uint8 (`count`, height, width).

    Arguments and errors are the same as in `draw_non_digits`. `shape` is height and width of the pixels, and `progress`
    shows a progress bar.
    """
    images = draw_non_digits(name, count, seed, part=part, fonts=fonts, look_alikes=look_alikes)
    return _prepared(tqdm(images, name, count, unit="image", disable=not progress), count, shape)


def printed_digits(
    count: int, seed: int, part: Part, *, fonts: Path | None = None, shape: Shape = PIXELS_SHAPE
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Printed digits in the fonts of the letters, prepared: a network must not detect letters by their print.

    Args:
        count: number of images; the digits 0 to 9 take turns.
        seed: 0 or more.
        part: `exposure` for training, `evaluation` for tests.
        fonts: see `kit_for`.
        shape: height and width of the pixels.

    Returns:
        Pixels, uint8 (`count`, height, width), and digits, int64 (`count`,).

    Raises:
        ConfigError: the folder has no usable font.
    """
    pixels = _prepared(draw_printed_digits(count, seed, part, fonts=fonts), count, shape)
    return pixels, np.arange(count) % len(DIGITS)


def draw_printed_digits(count: int, seed: int, part: Part, *, fonts: Path | None = None) -> Drawn[GreyImage]:
    """Draws printed digits, 0 to 9 in turn, when they are needed, as a user would send them: see `printed_digits`.

    Returns:
        `count` images, each uint8 (H, W), 0 = black and 255 = white.
    """
    kit = kit_for(part, fonts)

    def draw(number: int) -> GreyImage:
        return one_character(DIGITS[number % len(DIGITS)], kit, _generator("printed_digits", part, seed, number))

    return Drawn(count, draw)


def _generator(name: str, part: Part, seed: int, number: int) -> Generator:
    return np.random.default_rng([zlib.crc32(f"{part} {name}".encode()), seed, number])


def _prepared(images: Iterable[GreyImage], count: int, shape: Shape) -> npt.NDArray[np.uint8]:
    pixels = np.empty((count, *shape), np.uint8)
    for number, image in enumerate(images):
        pixels[number] = prepare(image, shape=shape)
    return pixels
