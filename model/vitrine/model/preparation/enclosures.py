"""Tells the blobs that surround a digit, such as a box, a circle or a ruled line, from the digit itself.

A blob surrounds another that lies inside its box. A straight line surrounds what is shorter than it and lies beside it.
It knows boxes and no pixels.
"""

import numpy as np
import numpy.typing as npt

from vitrine.model.preparation.blobs import Blobs, Numbers

LEAST_INSIDE = 0.3
"""Length of what a blob surrounds, as a share of its box's shorter side: smaller things are specks."""

DOT_FILL, DOT_ASPECT, DOT_LENGTH = 0.7, 1.6, 0.5
"""A blob that fills this share of its box, which is no longer than this, is a dot, such as that of a 0, where it is no
longer than this share of the shorter side of what lies around it. A thick digit in a box is longer."""

LEAST_BESIDE = 0.3
"""Length of what a line surrounds, as a share of its own."""

THIN = 0.16
"""Thickness of a line, as a share of its length."""


def find_surrounding(blobs: Blobs, chosen: Numbers) -> npt.NDArray[np.bool_]:
    """Tells which of some blobs surround others of them.

    Args:
        blobs: B blobs.
        chosen: int64 (C,), numbers of blobs.

    Returns:
        bool (C,).
    """
    if len(chosen) < 2:
        return np.zeros(len(chosen), np.bool_)
    sides = np.stack([side[chosen] for side in (blobs.top, blobs.left, blobs.bottom, blobs.right)])  # (4, C)
    starts, ends = sides[:2], sides[2:]
    length, width = (ends - starts).max(axis=0), (ends - starts).min(axis=0)
    inside = ((starts[:, :, None] <= starts[:, None]) & (ends[:, :, None] >= ends[:, None])).all(axis=0)  # (C, C)
    is_dot = (blobs.area[chosen] >= DOT_FILL * length * width) & (length <= DOT_ASPECT * width)
    inside &= (length < length[:, None]) & ~(is_dot & (length <= DOT_LENGTH * width[:, None]))
    beside = ((ends[:, None] <= starts[:, :, None]) | (starts[:, None] >= ends[:, :, None])).any(axis=0)
    thin = width <= np.maximum(THIN * length, 1)
    ruled = thin[:, None] & ~thin & beside & (length < length[:, None]) & (length >= LEAST_BESIDE * length[:, None])
    held = (_extent(starts, ends, inside) >= LEAST_INSIDE * width) & inside.any(axis=1)
    found: npt.NDArray[np.bool_] = ruled.any(axis=1) | held
    return found


def _extent(starts: Numbers, ends: Numbers, inside: npt.NDArray[np.bool_]) -> Numbers:
    """The length of the box around all that lies inside of each blob: int64 (C,)."""
    far = np.iinfo(np.int64).max // 2
    first = np.where(inside, starts[:, None], far).min(axis=2)  # (2, C)
    last = np.where(inside, ends[:, None], -far).max(axis=2)
    extent: Numbers = (last - first).max(axis=0)
    return extent
