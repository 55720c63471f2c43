"""Which fonts a part writes with, and how a text looks in one: what trains a network never measures it.

The fonts come with matplotlib, which the training needs anyway; evaluation takes others from a folder, too.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from vitrine.training.errors import ConfigError
from vitrine.training.rendering.nondigits.sketch import SKETCH_SIDE

EXPOSURE_FONTS = (
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralBolIta", "STIXGeneralItalic"),
    *("cmb10", "cmr10", "cmss10", "cmti10", "cmtt10"),
)
"""Computer Modern and STIX: a book's fonts, and a typewriter's."""

EXPOSED_FAMILIES = ("CMU", "LM", "Latin Modern", "STIX", "cm")
"""How the names of those fonts' families begin, those of their other publishers among them."""

EVALUATION_FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-BoldOblique", "DejaVuSans-Oblique", "DejaVuSansMono"),
    *("DejaVuSansMono-Bold", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-BoldItalic", "DejaVuSerif-Italic"),
)
"""DejaVu: a screen's fonts."""

FONT_SIZE = 96
"""How large texts are written, in pixels; a mark is scaled to its place on a page afterwards."""

LETTER_OVERLAP = 3
"""By how many pixels of `FONT_SIZE` letters overlap that touch."""

REQUIRED_CHARACTERS = "ABCKMNRSWXacegkmnrtuvwx0123456789"
"""What a font must be able to write; fonts of symbols or of other scripts can't."""

FONT_SUFFIXES = (".otf", ".ttc", ".ttf")
"""How the names of font files end."""


def bundled_fonts(names: tuple[str, ...]) -> tuple[Path, ...]:
    """Where matplotlib keeps fonts; the order is that of `names`."""
    import matplotlib as mpl  # here, because it takes a while and most who train never draw a letter

    folder = Path(mpl.get_data_path(), "fonts", "ttf")
    return tuple(folder / f"{name}.ttf" for name in names)


def fonts_in(folder: Path) -> tuple[Path, ...]:
    """The fonts of a folder and all folders in it that can write Latin letters and that no network was exposed to.

    Raises:
        ConfigError: there are none.
    """
    latin = (path for path in _font_files(folder) if has_latin_characters(path))
    found = tuple(path for path in latin if not font_family(path).startswith(EXPOSED_FAMILIES))
    if not found:
        raise ConfigError(f"{folder} has no font with Latin letters: name a folder such as /usr/share/fonts/truetype")
    return found


def _font_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in FONT_SUFFIXES)


def font_family(path: Path) -> str:
    """What the font's family is called."""
    return str(load_font(path).getname()[0])


def has_latin_characters(path: Path) -> bool:
    """Whether it is a font that has the letters and digits that are needed: an unknown one is drawn as a box."""
    try:
        unknown = bytes(load_font(path).getmask("\U0010fffe"))
    except OSError:
        return False
    masks = {bytes(load_font(path).getmask(letter)) for letter in REQUIRED_CHARACTERS}
    return unknown not in masks and len(masks) == len(REQUIRED_CHARACTERS)


@lru_cache(maxsize=256)
def load_font(path: Path) -> ImageFont.FreeTypeFont:
    """A font file, read once."""
    return ImageFont.truetype(path, FONT_SIZE)


def render_text(text: str, font: Path, bolder: int) -> Image.Image:
    """A text as a mark: a grey image of the ink's coverage, 0 = paper and 255 = ink.

    Args:
        text: what to write.
        font: its file.
        bolder: by how many pixels of `FONT_SIZE` strokes are widened on each side.
    """
    letters = load_font(font)
    image = Image.new("L", (round(letters.getlength(text)) + FONT_SIZE, 2 * FONT_SIZE))
    ImageDraw.Draw(image).text((FONT_SIZE // 2, FONT_SIZE // 3), text, 255, letters, stroke_width=bolder)
    return image


def render_touching_text(text: str, font: Path, bolder: int) -> Image.Image:
    """A text as in `render_text`, each of its letters moved to the left until its ink meets that of the one before."""
    written = np.asarray(render_text(text[0], font, bolder))
    for letter in text[1:]:
        written = _join(written, np.asarray(render_text(letter, font, bolder)))
    return Image.fromarray(written)


def _join(left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Two marks of the same height side by side, as close as they can be before more than an edge overlaps."""
    inked, other = left > 127, right > 127
    both = inked.any(axis=1) & other.any(axis=1)
    ends = left.shape[1] - inked[:, ::-1].argmax(axis=1)  # where each row's ink ends, (H,)
    begin = int((ends - other.argmax(axis=1))[both].max()) - LETTER_OVERLAP
    joined = np.zeros((len(left), begin + right.shape[1]), np.uint8)
    joined[:, : left.shape[1]] = left
    np.maximum(joined[:, begin:], right, out=joined[:, begin:])
    return joined


def distort(mark: Image.Image, distortion: npt.NDArray[np.float64]) -> Image.Image:
    """A mark, turned and slanted about its middle by a hand's (2, 2); what it moves out of is paper.

    It is scaled down to `SKETCH_SIDE` before, where it is longer: no page needs more.
    """
    mark = mark.crop(mark.getbbox())
    mark.thumbnail((SKETCH_SIDE, SKETCH_SIDE), Image.Resampling.BILINEAR)
    wide, high = mark.size
    side = round(1.4 * max(wide, high))
    back = np.linalg.inv(distortion.T)  # from the new image's places to the mark's
    shift = np.array([wide, high]) / 2 - back @ np.array([side, side]) / 2
    data = (*back[0], shift[0], *back[1], shift[1])
    return mark.transform((side, side), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
