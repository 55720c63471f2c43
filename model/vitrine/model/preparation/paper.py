"""Removes paper, light and table from a photo: the result is each pixel's difference from the paper under it.

The paper under the ink is guessed by a morphological closing: what is dark and narrower than the closing's window,
such as a stroke, is filled with what surrounds it, and what is wider, such as a shadow or the table, stays. Dividing by
that paper evens the light out (the black top-hat of J. Serra, "Image Analysis and Mathematical Morphology", 1982). It
knows no digits: `photo` tells them from other things that differ from their surroundings.
"""

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from vitrine.model.preparation.image import Grey

MIN_CONTRAST = 16
"""Grey levels (of 255) between paper and ink; what differs by less is paper, and where nothing differs the page is
empty."""

WINDOW = 0.3
"""The closing's window, as a share of the image's shorter side: wider than the strokes of a thick marker."""

DARKEST_PAPER = 64
"""The grey level below which light isn't evened out any further: there, noise would be taken for ink."""

NOISE_LIMIT = 2.0
"""Grey levels of noise (standard deviation) above which an image is smoothed."""

SMOOTHING = 0.6
"""The radius of that smoothing, in pixels."""

NOISE_MARGIN = 5.0
"""So many times the noise is what smoothed noise reaches, from its lightest pixels to its darkest."""

EVEN_FRAME = 0.6
"""The share of the outermost pixels from which on their common grey is the paper's."""

Contrast: TypeAlias = npt.NDArray[np.uint8]
"""The distance of each pixel from its paper towards black: uint8 (H, W), 0 = none, 255 = all the way."""


def smooth(grey: Grey, noise: float) -> Grey:
    """The image without the noise of a sensor or a coarse JPEG; where there is little of it, the image as it is."""
    if noise <= NOISE_LIMIT:
        return grey
    return np.asarray(Image.fromarray(grey).filter(ImageFilter.GaussianBlur(SMOOTHING)))


def measure_noise(grey: Grey) -> float:
    """The noise's standard deviation, from neighbours where nothing is drawn, which most are: the median case."""
    rows = grey[::4].astype(np.int16)
    bends = np.abs(2 * rows[:, 1:-1] - rows[:, :-2] - rows[:, 2:])  # 0 on an even slope
    return float(np.median(bends)) / 1.65 if bends.size else 0.0  # the median of |N(0, 1 + 4 + 1)| is 1.65


def measure_contrast(grey: Grey, noise: float = 0.0) -> tuple[Contrast, Grey]:
    """By how much every pixel is darker than the paper around it, whatever light falls on it; and that paper.

    Args:
        grey: uint8 (H, W).
        noise: the standard deviation of its noise before it was smoothed, in grey levels.
    """
    paper = close(grey, max(round(WINDOW * min(grey.shape)), 3))
    steps, least = paper - grey, math.ceil(max(MIN_CONTRAST, NOISE_MARGIN * noise))
    scaled = np.maximum(paper, DARKEST_PAPER).astype(np.float32)  # one array for all steps: most of a photo's time
    np.divide(np.float32(255), scaled, out=scaled)
    scaled *= steps
    contrast: Contrast = scaled.astype(np.uint8)
    contrast *= steps >= least
    return contrast, paper


def close(grey: Grey, window: int) -> Grey:
    """A morphological closing with a square of about `window` pixels: the lightest near, then the darkest of those."""
    reach = window // 2
    padded = _framed(grey, 2 * reach)  # for both passes
    widened = _slide(_slide(padded, reach, np.maximum).T, reach, np.maximum)  # transposed
    return _slide(_slide(widened, reach, np.minimum).T, reach, np.minimum)


def _framed(grey: Grey, width: int) -> Grey:
    """The image with more paper around it: of the frame's own grey where that is even, else as it is at each place.

    So a stroke along the border of a tight crop is no darker paper, and uneven light isn't cut off there.
    """
    frame = np.concatenate((grey[0], grey[-1], grey[:, 0], grey[:, -1])).astype(np.int16)
    paper = int(np.median(frame))
    if (np.abs(frame - paper) < MIN_CONTRAST).mean() > EVEN_FRAME:
        return np.pad(grey, width, constant_values=paper)
    return np.pad(grey, width, "edge")


def _slide(rows: Grey, reach: int, extreme: np.ufunc) -> Grey:
    """The extreme of each row and the `reach` rows on either side; each pass sees twice as far."""
    seen, wanted = 1, 2 * reach + 1
    while seen < wanted:
        step = min(seen, wanted - seen)
        rows = extreme(rows[:-step], rows[step:])
        seen += step
    return rows
