"""Forms of digits as conditions of the stress set: each written by hand, and photographed or scanned.

Unlike the other conditions, a form brings its own digit. It knows no model.
"""

import zlib
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from vitrine.training.pens import draw, random_pen
from vitrine.training.rendering.forms import FORMS, write_form
from vitrine.training.rendering.stress import scene
from vitrine.training.rendering.stress.scene import BLACK_INK, BLUE_INK, TABLES, WHITE, Picture

SIDES = (90, 420)
"""Range of the side of a written form, in pixels."""

PAGE = (1.15, 2.2)
"""Range of each side of the page, in sides of the form."""

FORM_CONDITIONS: Mapping[str, int] = MappingProxyType({name: form.digit for name, form in FORMS.items()})
"""The digit of each form, in the order of the digits."""


def render_form(name: str, seed: int, number: int) -> bytes:
    """Renders a form as image file `number`: on a sheet, unevenly lit, a third of them lying on a table.

    Args:
        name: a form of `FORM_CONDITIONS`.
        seed: 0 or more.
        number: position in the stress set, 0 or more.

    Returns:
        A JPEG file; the same arguments give the same bytes.
    """
    random = np.random.default_rng([zlib.crc32(f"stress {name}".encode()), seed, number])
    page = _written(name, random)
    if random.random() < 1 / 3:
        page = scene.lay_on_table(page, TABLES[random.integers(len(TABLES))], random)
    lit = scene.light(page, float(random.uniform(0.5, 0.9)), random)
    return scene.encode_jpeg(scene.sensor_noise(lit, float(random.uniform(1, 6)), random))


def form_labels(name: str, count: int) -> npt.NDArray[np.int64]:
    """The labels of a form's images: int64 (`count`,)."""
    return np.full(count, FORM_CONDITIONS[name], np.int64)


def _written(name: str, random: Generator) -> Picture:
    """A sheet with the form anywhere on it, in black or blue ink."""
    side = round(float(np.exp(random.uniform(*np.log(SIDES)))))
    strokes = draw(write_form(name, random), random_pen(random), side, random).astype(np.float32) / np.float32(255)
    height, width = (round(side * float(random.uniform(*PAGE))) for _ in range(2))
    corner = (int(random.integers(height - side + 1)), int(random.integers(width - side + 1)))
    ink = BLACK_INK if random.random() < 0.6 else BLUE_INK
    return scene.draw_strokes(scene.paper_sheet((height, width), WHITE, random), strokes, corner, ink)
