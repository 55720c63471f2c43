"""What a part of the non-digits may be drawn with. It knows no maker: it only carries what makers choose from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from PIL import Image

Part: TypeAlias = Literal["exposure", "evaluation"]
"""`exposure` may train a network, as counter-examples; `evaluation` measures it, with much that it never saw."""

Drawing: TypeAlias = Callable[[Generator], Image.Image]
"""Draws a mark: a grey image of how much of each pixel the ink covers, 0 = paper and 255 = ink."""

Texture: TypeAlias = Callable[[tuple[int, int], Generator], npt.NDArray[np.floating[Any]]]
"""Fills a picture of a height and width with grey levels, 0 = black and 255 = white."""


@dataclass(frozen=True, slots=True)
class Kit:
    """What makers choose from."""

    part: Part
    """Whose it is."""
    fonts: tuple[Path, ...]
    """The files of the fonts that texts are written with."""
    letters: str
    """The letters that stand alone."""
    shapes: tuple[Drawing, ...]
    """The kinds of shapes."""
    scribbles: tuple[Drawing, ...]
    """The kinds of scribbles."""
    textures: tuple[Texture, ...]
    """The kinds of noise."""
