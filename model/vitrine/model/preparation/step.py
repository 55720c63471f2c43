"""A step of the preparation, for those who show it: its picture and a sentence. It loads no Pillow."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DESCRIPTIONS: Mapping[str, str] = {
    "grey": "The image is read upright and in shades of grey; transparency lies on white paper.",
    "ink": "The digit is told from paper, light and everything else, and cut out; paper becomes white, and ink black.",
    "place": "It is scaled to the model's few pixels, its proportions kept, with its centre of mass in the middle.",
    "stretch": "The darkest pixel becomes fully black, so that thin strokes don't come out pale. The model gets this.",
}
"""A sentence about each step, by its name, in the order of the steps."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """The picture after a step of the preparation."""

    name: str
    """One of `DESCRIPTIONS`."""
    picture: npt.NDArray[np.uint8]
    """uint8 (h, w), 0 = black and 255 = white, as screens have it, and scaled down."""
