"""Groups ink into blobs: pixels that hang together, each group with its box and its weight.

Rows are cut into runs of ink; runs of adjacent rows that touch are linked, all at once, until nothing changes. It knows
no digits: `photo` chooses the blob that is one.
"""

from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt

from vitrine.model.preparation.paper import Contrast

Numbers: TypeAlias = npt.NDArray[np.int64]
"""Whole numbers, int64."""


@dataclass(frozen=True, slots=True, eq=False)
class Blobs:
    """The connected blobs of a mask, each with its box and its weight; B of them."""

    top: Numbers
    """int64 (B,): the first row of each."""
    bottom: Numbers
    """int64 (B,): the row after its last."""
    left: Numbers
    """int64 (B,): its first column."""
    right: Numbers
    """int64 (B,): the column after its last."""
    area: Numbers
    """int64 (B,): its number of pixels."""
    weight: Numbers
    """int64 (B,): the sum of its pixels' contrast."""
    labels: Numbers
    """int64 (H, W): the blob of each pixel, 0 to B - 1; -1 where there is none."""

    @classmethod
    def of(cls, contrast: Contrast, threshold: int) -> Self:
        """The blobs of what has more contrast than `threshold`; pixels that touch by a corner hang together."""
        height, width = contrast.shape[0], contrast.shape[1] + 2
        framed = np.zeros((height, width), np.uint8)  # columns of nothing: no run goes on in the next row
        framed[:, 1:-1] = contrast
        flat = framed.ravel()
        is_ink = flat > threshold
        edges = np.flatnonzero(is_ink[1:] != is_ink[:-1]) + 1
        starts, ends = np.ascontiguousarray(edges[::2]), np.ascontiguousarray(edges[1::2])
        blob, count = _connect(starts, ends, width)
        sums = np.add.reduceat(flat, edges, dtype=np.int64)[::2] if edges.size else edges
        labels = np.full(flat.size, -1, np.int64)
        labels[is_ink] = np.repeat(blob, ends - starts)
        return cls(
            top=_extreme(np.minimum, blob, starts // width, count),
            bottom=_extreme(np.maximum, blob, starts // width, count) + 1,
            left=_extreme(np.minimum, blob, starts % width, count) - 1,
            right=_extreme(np.maximum, blob, ends % width, count) - 1,
            area=np.bincount(blob, ends - starts, count).astype(np.int64),
            weight=np.bincount(blob, sums, count).astype(np.int64),
            labels=labels.reshape(height, width)[:, 1:-1],
        )

    @property
    def length(self) -> Numbers:
        """The longer side of each blob's box."""
        length: Numbers = np.maximum(self.bottom - self.top, self.right - self.left)
        return length

    def box(self, blob: int) -> tuple[slice, slice]:
        """The rows and columns of a blob's box."""
        return slice(self.top[blob], self.bottom[blob]), slice(self.left[blob], self.right[blob])

    def __len__(self) -> int:
        return len(self.area)


def _connect(starts: Numbers, ends: Numbers, width: int) -> tuple[Numbers, int]:
    """The blob of each run, and how many blobs there are: runs of adjacent rows that touch belong together."""
    first = np.searchsorted(ends, starts + width, "left")  # the next row's first run that doesn't end before this one
    touching = np.maximum(np.searchsorted(starts, ends + width, "right") - first, 0)
    above = np.repeat(np.arange(len(starts)), touching)
    offsets = np.arange(len(above)) - np.repeat(touching.cumsum() - touching, touching)
    below = np.repeat(first, touching) + offsets
    parent = _merge(np.arange(len(starts)), above, below)
    is_root = parent == np.arange(len(parent))
    return (is_root.cumsum() - 1)[parent], int(is_root.sum())


def _merge(parent: Numbers, above: Numbers, below: Numbers) -> Numbers:
    """Gives connected runs the same, smallest, number: each round links them, and then shortens all ways to the top."""
    while (apart := parent[above] != parent[below]).any():
        above, below = above[apart], below[apart]
        low = np.minimum(parent[above], parent[below])
        high = np.maximum(parent[above], parent[below])
        np.minimum.at(parent, high, low)
        while (shorter := parent[parent]).tobytes() != parent.tobytes():
            parent = shorter
    return parent


def _extreme(ufunc: np.ufunc, blob: Numbers, values: Numbers, count: int) -> Numbers:
    """The extreme of the values of each blob's runs."""
    start = np.iinfo(np.int64).max if ufunc is np.minimum else np.iinfo(np.int64).min
    found = np.full(count, start, np.int64)
    ufunc.at(found, blob, values)
    return found
