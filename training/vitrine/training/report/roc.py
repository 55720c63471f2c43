"""How well a score tells two kinds of images apart, whatever the threshold. It knows scores, and not of what."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Scores: TypeAlias = npt.NDArray[np.floating]
"""A score for each image of one kind: float (N,)."""


def auroc(low: Scores, high: Scores) -> float:
    """The area under the ROC curve: how often one of `high` has a larger score than one of `low`, ties counted half.

    By ranks, as J. A. Hanley and B. J. McNeil, "The meaning and use of the area under a ROC curve", Radiology (1982).

    Args:
        low: the scores of what should score low, at least one.
        high: the scores of what should score high, at least one.

    Returns:
        1 where every score of `high` is larger, 0.5 where the score tells nothing.
    """
    ordered = np.sort(low)
    smaller = np.searchsorted(ordered, high, "left")
    equal_or_smaller = np.searchsorted(ordered, high, "right")
    return float((smaller + equal_or_smaller).mean() / (2 * len(low)))


def roc_curve(low: Scores, high: Scores) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What each threshold does: the shares of `low` and of `high` that lie above it, from the highest threshold down.

    Returns:
        Two float64 (T,), one for each different score and one more; both begin with 0 and end with 1.
    """
    thresholds = np.append(np.unique(np.concatenate((low, high)))[::-1], -np.inf)
    return _share_above(low, thresholds), _share_above(high, thresholds)


def _share_above(scores: Scores, thresholds: Scores) -> npt.NDArray[np.float64]:
    return 1 - np.searchsorted(np.sort(scores), thresholds, "right") / len(scores)
