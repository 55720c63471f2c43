"""The sets of made images that show no digit, each from a seed; and printed digits, which must stay digits.

Image `number` of a set is the same whatever the number of images, on one version of Pillow. It knows what makes each
set, and not how anything is drawn.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from string import ascii_letters
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from tqdm import tqdm

from vitrine.model import DIGITS, PIXELS_SHAPE, Shape, prepare
from vitrine.training.errors import ConfigError
from vitrine.training.rendering.nondigits.faces import faces
from vitrine.training.rendering.nondigits.fonts import EVALUATION_FONTS, EXPOSURE_FONTS, bundled_fonts, fonts_in
from vitrine.training.rendering.nondigits.kit import Kit, Part
from vitrine.training.rendering.nondigits.page import Grey, on_a_page
from vitrine.training.rendering.nondigits.scribbles import EVALUATION_SCRIBBLES, EXPOSURE_SCRIBBLES
from vitrine.training.rendering.nondigits.shapes import EVALUATION_SHAPES, EXPOSURE_SHAPES
from vitrine.training.rendering.nondigits.textures import EVALUATION_TEXTURES, EXPOSURE_TEXTURES, blank, noise
from vitrine.training.rendering.nondigits.writing import LETTERS, letters, one_character, several_digits, words

Maker: TypeAlias = Callable[[Kit, Generator], Grey]
"""Makes one image, uint8 (H, W), 0 = black and 255 = white, as a user would send it."""


def shapes(kit: Kit, random: Generator) -> Grey:
    """A sign or a simple thing: a star, an arrow to one side, a house."""
    return on_a_page(kit.shapes[random.integers(len(kit.shapes))](random), random)


def scribbles(kit: Kit, random: Generator) -> Grey:
    """Strokes that mean nothing."""
    return on_a_page(kit.scribbles[random.integers(len(kit.scribbles))](random), random)


NON_DIGITS: Mapping[str, Maker] = {
    maker.__name__: maker for maker in (letters, words, several_digits, shapes, scribbles, faces, noise, blank)
}
"""By name, in the order of the tables."""

EXPOSURE_SETS = tuple(name for name in NON_DIGITS if name != "faces")
"""What may train a network. Faces are in no exposure, so that one whole set is new to every network."""


def kit_for(part: Part, fonts: Path | None = None, look_alikes: bool = False) -> Kit:
    """What a part is drawn with.

    Args:
        part: `exposure` to train with, `evaluation` to measure by.
        fonts: a folder whose fonts take the place of the part's own. Those of the exposure are left out.
        look_alikes: whether letters with a digit's shape are among the letters, too.

    Raises:
        ConfigError: the folder has no usable font.
    """
    alone = ascii_letters if look_alikes else LETTERS
    found = fonts_in(fonts) if fonts else bundled_fonts(EXPOSURE_FONTS if part == "exposure" else EVALUATION_FONTS)
    if part == "exposure":
        return Kit(part, found, alone, EXPOSURE_SHAPES, EXPOSURE_SCRIBBLES, EXPOSURE_TEXTURES)
    return Kit(part, found, alone, EVALUATION_SHAPES, EVALUATION_SCRIBBLES, EVALUATION_TEXTURES)


def draw_non_digits(
    name: str, count: int, seed: int, *, part: Part, fonts: Path | None = None, look_alikes: bool = False
) -> Iterator[Grey]:
    """Draws images of a set as a user would send them, one after the other.

    Args:
        name: a set of `NON_DIGITS`; of the exposure, of `EXPOSURE_SETS`.
        count: how many.
        seed: 0 or more.
        part: `exposure` to train with, `evaluation` to measure by: the two share no image.
        fonts: see `kit_for`.
        look_alikes: see `kit_for`.

    Yields:
        uint8 (H, W), 0 = black and 255 = white.

    Raises:
        ConfigError: the set isn't the part's, or the folder has no usable font.
    """
    if name not in (EXPOSURE_SETS if part == "exposure" else NON_DIGITS):
        raise ConfigError(f"there is no set {name} for {part}")
    kit, make = kit_for(part, fonts, look_alikes), NON_DIGITS[name]
    return (make(kit, _generator(name, part, seed, number)) for number in range(count))


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
    """Draws images of a set and prepares them, as a server would: uint8 (`count`, height, width).

    The arguments and errors are those of `draw_non_digits`; `shape` is that of the pixels, `progress` shows a bar.
    """
    images = draw_non_digits(name, count, seed, part=part, fonts=fonts, look_alikes=look_alikes)
    return _prepared(tqdm(images, name, count, unit="image", disable=not progress), count, shape)


def printed_digits(
    count: int, seed: int, part: Part, *, fonts: Path | None = None, shape: Shape = PIXELS_SHAPE
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Digits in print, in the fonts of the letters, prepared: what tells letters from digits mustn't be the print.

    Args:
        count: how many; each digit as often as any other, up to one.
        seed: 0 or more.
        part: as for the letters.
        fonts: see `kit_for`.
        shape: height and width of the pixels.

    Returns:
        Pixels, uint8 (`count`, height, width), and the digits, int64 (`count`,).

    Raises:
        ConfigError: the folder has no usable font.
    """
    pixels = _prepared(draw_printed_digits(count, seed, part, fonts=fonts), count, shape)
    return pixels, np.arange(count) % len(DIGITS)


def draw_printed_digits(count: int, seed: int, part: Part, *, fonts: Path | None = None) -> Iterator[Grey]:
    """Draws digits in print, 0 to 9 in turn, as a user would send them: see `printed_digits`.

    Yields:
        uint8 (H, W), 0 = black and 255 = white.
    """
    kit = kit_for(part, fonts)
    for number in range(count):
        yield one_character(DIGITS[number % len(DIGITS)], kit, _generator("printed_digits", part, seed, number))


def _generator(name: str, part: Part, seed: int, number: int) -> Generator:
    return np.random.default_rng([zlib.crc32(f"{part} {name}".encode()), seed, number])


def _prepared(images: Iterable[Grey], count: int, shape: Shape) -> npt.NDArray[np.uint8]:
    pixels = np.empty((count, *shape), np.uint8)
    for number, image in enumerate(images):
        pixels[number] = prepare(image, shape=shape)
    return pixels
