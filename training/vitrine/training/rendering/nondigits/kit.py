"""The choices a part of the images is drawn from: fonts, letters, shapes, scribbles and textures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from PIL import Image

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
    """Font files for text."""
    letters: str
    """Letters that are drawn alone."""
    shapes: tuple[Drawing, ...]
    """Kinds of shapes."""
    scribbles: tuple[Drawing, ...]
    """Kinds of scribbles."""
    textures: tuple[Texture, ...]
    """Kinds of textures."""
