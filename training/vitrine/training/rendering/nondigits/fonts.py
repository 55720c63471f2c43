"""Fonts of each part, and text rendered with them. Fonts used in training are never used in evaluation.

The fonts come with matplotlib, a dependency of training. Evaluation can also use fonts from a folder.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from vitrine.model.drawing import load_matplotlib
from vitrine.training.errors import ConfigError
from vitrine.training.rendering.nondigits.sketch import SKETCH_SIDE

EXPOSURE_FONTS = (
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralBolIta", "STIXGeneralItalic"),
    *("cmb10", "cmr10", "cmss10", "cmti10", "cmtt10"),
)
"""Computer Modern and STIX: book fonts and a typewriter font."""

EXPOSED_FAMILIES = ("CMU", "LM", "Latin Modern", "STIX", "cm")
"""Prefixes of the family names of these fonts, including releases by other publishers."""

EVALUATION_FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-BoldOblique", "DejaVuSans-Oblique", "DejaVuSansMono"),
    *("DejaVuSansMono-Bold", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-BoldItalic", "DejaVuSerif-Italic"),
)
"""DejaVu: fonts for screens."""

FONT_SIZE = 96
"""Font size of rendered text in pixels. A mark is scaled afterwards to its place on a page."""

LETTER_OVERLAP = 3
"""Overlap of touching letters, in pixels at `FONT_SIZE`."""

REQUIRED_CHARACTERS = "ABCKMNRSWXacegkmnrtuvwx0123456789"
"""Characters a font must contain. This excludes symbol fonts and fonts of other scripts."""

FONT_SUFFIXES = (".otf", ".ttc", ".ttf")
"""File name suffixes of fonts."""


def bundled_fonts(names: tuple[str, ...]) -> tuple[Path, ...]:
    """Paths of matplotlib's fonts, in the order of `names`."""
    load_matplotlib()
    import matplotlib as mpl  # imported here because it loads slowly and most runs draw no letters

    folder = Path(mpl.get_data_path(), "fonts", "ttf")
    return tuple(folder / f"{name}.ttf" for name in names)


def fonts_in(folder: Path) -> tuple[Path, ...]:
    """Fonts in a folder and its subfolders that contain Latin letters and were not used in training.

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
    """Name of the font's family."""
    return str(load_font(path).getname()[0])


def has_latin_characters(path: Path) -> bool:
    """True for a readable font with all required characters; missing ones are all drawn as the same box."""
    try:
        unknown = bytes(load_font(path).getmask("\U0010fffe"))
    except OSError:
        return False
    masks = {bytes(load_font(path).getmask(letter)) for letter in REQUIRED_CHARACTERS}
    return unknown not in masks and len(masks) == len(REQUIRED_CHARACTERS)


@lru_cache(maxsize=1024)
def fonts_with(character: str, fonts: tuple[Path, ...]) -> tuple[Path, ...]:
    """The fonts that contain a character, in their order."""
    return tuple(font for font in fonts if bytes(load_font(font).getmask(character)) != _missing(font))


@lru_cache(maxsize=256)
def _missing(font: Path) -> bytes:
    """The mask of a character that the font lacks: a box, in most fonts."""
    return bytes(load_font(font).getmask("\U0010fffe"))


def glyph(character: str, font: Path) -> npt.NDArray[np.uint8]:
    """A character as it is printed, without margins: uint8 (H, W), 0 = paper and 255 = ink."""
    mask = load_font(font).getmask(character)
    return np.array(mask, np.uint8).reshape(mask.size[::-1])


@lru_cache(maxsize=256)
def load_font(path: Path) -> ImageFont.FreeTypeFont:
    """Loads a font file; repeated calls are cached."""
    return ImageFont.truetype(path, FONT_SIZE)


def render_text(text: str, font: Path, bolder: int) -> Image.Image:
    """Renders a text as a mark: a grey image of the ink's coverage, 0 = paper and 255 = ink.

    Args:
        text: text to render.
        font: font file.
        bolder: widening of the strokes on each side, in pixels at `FONT_SIZE`.
    """
    letters = load_font(font)
    image = Image.new("L", (round(letters.getlength(text)) + FONT_SIZE, 2 * FONT_SIZE))
    ImageDraw.Draw(image).text((FONT_SIZE // 2, FONT_SIZE // 3), text, 255, letters, stroke_width=bolder)
    return image


def render_touching_text(text: str, font: Path, bolder: int) -> Image.Image:
    """Renders a text as in `render_text`, with each letter moved left until its ink touches the previous letter."""
    written = np.asarray(render_text(text[0], font, bolder))
    for letter in text[1:]:
        written = _join(written, np.asarray(render_text(letter, font, bolder)))
    return Image.fromarray(written)


def _join(left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Places two marks of equal height side by side, as close as `LETTER_OVERLAP` allows."""
    inked, other = left > 127, right > 127
    both = inked.any(axis=1) & other.any(axis=1)
    ends = left.shape[1] - inked[:, ::-1].argmax(axis=1)  # end of the ink in each row, (H,)
    begin = int((ends - other.argmax(axis=1))[both].max()) - LETTER_OVERLAP
    joined = np.zeros((len(left), begin + right.shape[1]), np.uint8)
    joined[:, : left.shape[1]] = left
    np.maximum(joined[:, begin:], right, out=joined[:, begin:])
    return joined


def distort(mark: Image.Image, distortion: npt.NDArray[np.float64]) -> Image.Image:
    """Applies a (2, 2) distortion to a mark about its centre; the uncovered area becomes paper.

    Larger marks are first scaled down to `SKETCH_SIDE`, which is enough for every page.
    """
    mark = mark.crop(mark.getbbox())
    mark.thumbnail((SKETCH_SIDE, SKETCH_SIDE), Image.Resampling.BILINEAR)
    wide, high = mark.size
    side = round(1.4 * max(wide, high))
    back = np.linalg.inv(distortion.T)  # from positions in the new image to positions in the mark
    shift = np.array([wide, high]) / 2 - back @ np.array([side, side]) / 2
    data = (*back[0], shift[0], *back[1], shift[1])
    return mark.transform((side, side), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
