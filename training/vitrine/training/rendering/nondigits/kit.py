"""The choices a part of the images is drawn from: fonts, letters, skeletons, shapes, scribbles and textures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from PIL import Image

from vitrine.training.rendering.nondigits.fonts import fonts_with
from vitrine.training.rendering.skeletons import Skeleton

Part: TypeAlias = Literal["exposure", "evaluation"]
"""`exposure` is for training, as counter-examples; `evaluation` is for tests, and contains motifs not used in training.
"""

Drawing: TypeAlias = Callable[[Generator], Image.Image]
"""Draws a mark: a grey image of the ink's coverage, 0 = paper and 255 = ink."""

Texture: TypeAlias = Callable[[tuple[int, int], Generator], npt.NDArray[np.floating[Any]]]
"""Fills an image of the given height and width with grey levels, 0 = black and 255 = white."""


@dataclass(frozen=True, slots=True)
class Kit:
    """The choices of one part."""

    part: Part
    """The part."""
    fonts: tuple[Path, ...]
    """Font files for text; all have the Latin letters."""
    spare_fonts: tuple[Path, ...]
    """Font files for characters that no other font has."""
    letters: str
    """Latin letters that are drawn alone."""
    near_twins: str
    """Letters that look like a digit, but that careful writers make distinct."""
    greek: str
    """Greek letters."""
    scripts: str
    """Characters of other scripts."""
    skeletons: Mapping[str, Skeleton]
    """How characters are written by hand; those without one follow the middle lines of the fonts' characters."""
    shapes: tuple[Drawing, ...]
    """Kinds of shapes."""
    scribbles: tuple[Drawing, ...]
    """Kinds of scribbles."""
    textures: tuple[Texture, ...]
    """Kinds of textures."""

    def fonts_for(self, character: str) -> tuple[Path, ...]:
        """The fonts that have a character; none where it is only written by hand."""
        return fonts_with(character, self.fonts) or fonts_with(character, self.spare_fonts)
