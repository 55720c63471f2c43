"""Finds the ink of one digit or sign in a photo, a scan or a drawing, in any light, on any paper and table.

`paper` measures contrast, of dark ink and, in the inverted image, of light ink; `blobs` groups it, at several
thresholds. A sheet's edge, a strip of table, printed lines and specks are blobs as well as the digit is. What tells
them apart:

- strength: ink differs from its paper more than most else does; weight counts, but little;
- surroundings: paper lies around a digit, on most sides, and paper is what the blob isn't;
- strokes: a digit consists of lines, so that no large square fits into it;
- border: what reaches the image's border, or from one end to the other, is rarely the digit; it often lies near the
  middle;
- most people write dark on light.

It knows no pixels of the model.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from vitrine.model.preparation.blobs import Blobs
from vitrine.model.preparation.enclosures import find_surrounding
from vitrine.model.preparation.image import Grey
from vitrine.model.preparation.paper import MIN_CONTRAST, Contrast, measure_contrast, measure_noise, smooth

Ink: TypeAlias = npt.NDArray[np.uint8]
"""Ink at an image's own size: uint8 (H, W), 0 = paper, 255 = ink."""

Mask: TypeAlias = npt.NDArray[np.bool_]
"""The pixels that belong to something: bool (H, W)."""

PHOTO_SIDE = 400
"""Photos that are twice as long or longer are averaged down towards this many pixels."""

COARSE_SIDE = 160
"""Blobs are searched for in an image that is at most so long, each of its pixels the highest contrast of its cell."""

HEAVIEST = 6
"""Number of blobs of each threshold that are scored, the heaviest ones."""

LIGHT_INK = 0.4
"""Factor of the score of light ink: between two bright things there is often something dark, as paper."""

SOLID_SIDE, SOLID = 0.35, 0.3
"""A blob that holds a square of this share of its length isn't written, and its score is multiplied by the second."""

AT_BORDER, ACROSS, FRAMING = 0.2, 0.1, 0.02
"""Factors of the score of a blob that touches the border, that reaches from end to end, or that takes a third of the
border."""

SURROUNDING = 0.05
"""Factor of the score of a blob that surrounds another one, such as a box."""

SAME_LENGTH = 1.1
"""A blob that surrounds others still does at a higher threshold, unless it gets shorter by more."""

LEAST_PAPER = 0.2
"""The share of the image that is at least as light as paper: the dark loop of a chalk 0 has its ink everywhere."""

NEAR = 0.25
"""The largest distance of a digit's parts from it, as a share of its length."""

LIGHTEST_PART = 0.03
"""The weight of a part, as a share of the digit's, below which it is a speck."""

PALEST = 0.25
"""The share of the ink's contrast that still is paper: printed lines, blur."""


@dataclass(frozen=True, slots=True, eq=False)
class Relief:
    """The contrast of ink of one kind, dark or light, and a coarse view of it."""

    contrast: Contrast
    """uint8 (H, W)."""
    cell: int
    """Pixels on each side of a coarse pixel."""
    peaks: Contrast
    """The highest contrast of each cell: uint8 (h, w)."""
    level: Grey
    """The mean grey of each cell: uint8 (h, w)."""
    paper: Grey
    """The mean grey of each cell's paper: uint8 (h, w)."""

    @classmethod
    def of(cls, grey: Grey, noise: float) -> Self:
        """The relief of dark ink; that of light ink is the one of the inverted image."""
        contrast, paper = measure_contrast(grey, noise)
        cell = -(-max(grey.shape) // COARSE_SIDE)
        return cls(contrast, cell, highest(contrast, cell), _mean(grey, cell), _mean(paper, cell))


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A blob that may be the digit."""

    relief: Relief
    blobs: Blobs
    """All blobs of its threshold."""
    blob: int
    """Its number among them."""
    surrounds: bool = False
    """Another of the heaviest blobs lies inside it, or beside it where it is a line."""

    @property
    def strength(self) -> float:
        """Its mean contrast, 0 to 255."""
        return float(self.blobs.weight[self.blob] / self.blobs.area[self.blob])

    @property
    def length(self) -> int:
        """The longer side of its box, in coarse pixels."""
        return int(self.blobs.length[self.blob])

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Top, bottom, left and right, in coarse pixels."""
        sides = (self.blobs.top, self.blobs.bottom, self.blobs.left, self.blobs.right)
        top, bottom, left, right = (int(side[self.blob]) for side in sides)
        return top, bottom, left, right

    def score(self) -> float:
        """Its likeness to a digit, 0 or more."""
        weight = float(self.blobs.weight[self.blob]) ** 0.25
        solid = SOLID if self._is_solid() else 1.0
        surrounds = SURROUNDING if self.surrounds else 1.0
        return float(weight * self.strength * self._surroundings() ** 2 * solid * surrounds * self._place())

    def _surroundings(self) -> float:
        """The share of what lies around its box that is paper rather than ink, 0 to 1; less if little anywhere is."""
        top, bottom, left, right = self.box
        reach = max(self.length // 3, 2)
        around = (slice(max(top - reach, 0), bottom + reach), slice(max(left - reach, 0), right + reach))
        own = self.blobs.labels[around] == self.blob
        outside = np.ones(own.shape, np.bool_)
        outside[top - around[0].start : bottom - around[0].start, left - around[1].start : right - around[1].start] = 0
        paper = float(self.relief.paper[around][own].mean())
        half_way = paper - self.strength / 255 * paper / 2
        near = float((self.relief.level[around][outside] > half_way).mean()) if outside.any() else 1.0
        everywhere = float((self.relief.level > half_way).mean())
        return near * min(max(everywhere / LEAST_PAPER, 0.1), 1.0)

    def _is_solid(self) -> bool:
        top, bottom, left, right = self.box
        own = self.blobs.labels[top:bottom, left:right] == self.blob
        return fits_a_square(own, max(int(SOLID_SIDE * self.length), 3))

    def _place(self) -> float:
        """1 in the middle of the image; less away from it, and much less at its border."""
        height, width = self.relief.peaks.shape
        top, bottom, left, right = self.box
        down, across = (top + bottom) / height - 1, (left + right) / width - 1  # -1 to 1
        factor: float = 1 - (down * down + across * across) / 4
        touched = (top == 0) + (bottom == height) + (left == 0) + (right == width)
        if touched >= 2 and (bottom - top >= 0.9 * height or right - left >= 0.9 * width):
            return factor * (FRAMING if self._framed() > 1 / 3 else ACROSS)
        return factor * (AT_BORDER if touched else 1)

    def _framed(self) -> float:
        """The share of the image's border that it takes: much for a table, little for a tight crop's digit."""
        labels = self.blobs.labels
        border = np.concatenate((labels[0], labels[-1], labels[:, 0], labels[:, -1]))
        return float((border == self.blob).mean())

    def widened(self) -> "Candidate":
        """The same blob at half its strength: a high threshold cuts off where strokes are paler."""
        blobs = Blobs.of(self.relief.peaks, int(self.strength / 2))
        owners = blobs.labels[self.blobs.labels == self.blob]
        wider = Candidate(self.relief, blobs, int(np.bincount(owners[owners >= 0]).argmax()))
        return wider if wider.length <= 1.3 * self.length else self

    def parts(self) -> npt.NDArray[np.int64]:
        """The blobs that belong to it: itself, and those near it that are as dark, and neither specks nor longer."""
        top, bottom, left, right = self.box
        blobs, reach = self.blobs, NEAR * self.length
        near = (blobs.top < bottom + reach) & (blobs.bottom > top - reach)
        near &= (blobs.left < right + reach) & (blobs.right > left - reach)
        near &= (blobs.weight > LIGHTEST_PART * blobs.weight[self.blob]) & (blobs.length <= self.length)
        near &= blobs.weight > self.strength / 2 * blobs.area
        near[self.blob] = True
        return np.flatnonzero(near)

    def ink(self) -> Ink:
        """Its ink and that of its parts, uint8 (H, W); everything else is paper."""
        chosen = np.isin(self.blobs.labels, self.parts())
        full = float(np.percentile(self.relief.peaks[chosen], 80))
        share = (np.arange(256) - PALEST * full) / ((1 - PALEST) * full)
        ink: Ink = np.rint(255 * share.clip(0, 1)).astype(np.uint8).take(self.relief.contrast, mode="clip")
        ink[~_fine(chosen, self.relief.cell, ink.shape)] = 0
        return ink


def find_ink_in_photo(grey: Grey) -> Ink:
    """The ink of the digit in a photo: uint8 (H, W) to uint8 (H', W'), which is smaller where the photo is large.

    What isn't the digit is paper. Where nothing differs from its surroundings by `MIN_CONTRAST`, all is paper.
    """
    small = reduce(grey)
    noise = measure_noise(small)
    photo = smooth(small, noise)
    best, best_score = None, 0.0
    for side, factor in ((photo, 1.0), (255 - photo, LIGHT_INK)):
        for candidate in _candidates(Relief.of(side, noise)):
            score = factor * candidate.score()
            if score > best_score:
                best, best_score = candidate, score
    return np.zeros_like(photo) if best is None else best.widened().ink()


def reduce(grey: Grey) -> Grey:
    """The image averaged down to less than twice `PHOTO_SIDE`; smaller ones as they are."""
    return _mean(grey, max(max(grey.shape) // PHOTO_SIDE, 1))


def _candidates(relief: Relief) -> Iterator[Candidate]:
    lengths = np.zeros(relief.peaks.shape, np.int64)  # of what surrounds: at a higher threshold, its inside falls apart
    for threshold in _thresholds(relief.peaks):
        blobs = Blobs.of(relief.peaks, threshold)
        heaviest = np.argsort(blobs.weight)[-HEAVIEST:]
        for blob in heaviest[find_surrounding(blobs, heaviest)]:
            box = blobs.box(int(blob))
            lengths[box][blobs.labels[box] == blob] = blobs.length[blob]
        any_surrounds = lengths.any()
        for blob in heaviest:
            box = blobs.box(int(blob))
            surrounding = int(lengths[box][blobs.labels[box] == blob].max()) if any_surrounds else 0
            yield Candidate(relief, blobs, int(blob), 0 < surrounding <= SAME_LENGTH * int(blobs.length[blob]))


def _thresholds(peaks: Contrast) -> Iterator[int]:
    """The least contrast; what splits everything above it in two, such as ink from printed lines; and once more."""
    threshold = MIN_CONTRAST
    for _ in range(3):
        strong = peaks[peaks > threshold]
        if strong.size == 0:
            return
        yield threshold
        threshold = split(strong)


def split(values: npt.NDArray[np.uint8]) -> int:
    """The value up to which the lower of two groups reaches, so that their means lie far apart.

    N. Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9 (1979).
    """
    counts = np.bincount(values, minlength=256)
    below, sums = counts.cumsum(), (counts * np.arange(256)).cumsum()
    above = below[-1] - below
    low, high = sums / np.maximum(below, 1), (sums[-1] - sums) / np.maximum(above, 1)
    return int((below * above * (high - low) ** 2).argmax())


def fits_a_square(mask: Mask, side: int) -> bool:
    """Tells whether the mask holds a square of `side` pixels, by the sums of all squares from a summed-area table."""
    if min(mask.shape) < side:
        return False
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int32)
    mask.cumsum(0, np.int32).cumsum(1, out=sums[1:, 1:])
    squares = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return bool(squares.max() == side * side)


def highest(values: npt.NDArray[np.uint8], cell: int) -> npt.NDArray[np.uint8]:
    """The highest value of each square of `cell` pixels; the last squares may be cut off by the edge."""
    if cell == 1:
        return values
    height, width = (-(-length // cell) for length in values.shape)
    padded = np.zeros((height * cell, width * cell), np.uint8)
    padded[: values.shape[0], : values.shape[1]] = values
    rows: npt.NDArray[np.uint8] = padded.reshape(height, cell, width * cell).max(axis=1)
    cells: npt.NDArray[np.uint8] = np.maximum.reduce([rows[:, place::cell] for place in range(cell)])
    return cells


def _mean(grey: Grey, cell: int) -> Grey:
    return np.asarray(Image.fromarray(grey).reduce(cell)) if cell > 1 else grey


def _fine(chosen: Mask, cell: int, shape: tuple[int, ...]) -> Mask:
    """A coarse mask at its image's own size, one coarse pixel wider all around, so that soft edges stay."""
    taller = chosen.copy()
    taller[1:] |= chosen[:-1]
    taller[:-1] |= chosen[1:]
    wider = taller.copy()
    wider[:, 1:] |= taller[:, :-1]
    wider[:, :-1] |= taller[:, 1:]
    fine = wider.repeat(cell, axis=0).repeat(cell, axis=1)
    return fine[: shape[0], : shape[1]]
