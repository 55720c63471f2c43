"""AUROC and ROC curves of a score, for all thresholds. It does not know the meaning of the score."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Scores: TypeAlias = npt.NDArray[np.floating]
"""Scores of one class of images: float (N,)."""


def auroc(low: Scores, high: Scores) -> float:
    """Area under the ROC curve: probability that a score in `high` exceeds one in `low`, with ties counted as one half.

    Computed from ranks, as in J. A. Hanley and B. J. McNeil, "The meaning and use of the area under a ROC curve",
    Radiology (1982).

    Args:
        low: scores of the class that should score low, at least one.
        high: scores of the class that should score high, at least one.

    Returns:
        1 if every score in `high` is larger, 0.5 for a score without information.
    """
    ordered = np.sort(low)
    smaller = np.searchsorted(ordered, high, "left")
    equal_or_smaller = np.searchsorted(ordered, high, "right")
    return float((smaller + equal_or_smaller).mean() / (2 * len(low)))


def roc_curve(low: Scores, high: Scores) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Shares of `low` and of `high` above each threshold, from the highest threshold down.

    Returns:
        Two float64 (T,), where T is the number of distinct scores plus one; both start at 0 and end at 1.
    """
    thresholds = np.append(np.unique(np.concatenate((low, high)))[::-1], -np.inf)
    return _share_above(low, thresholds), _share_above(high, thresholds)


def _share_above(scores: Scores, thresholds: Scores) -> npt.NDArray[np.float64]:
    return 1 - np.searchsorted(np.sort(scores), thresholds, "right") / len(scores)
