"""All handwriting that there is: MNIST's images and drawings of UNIPEN's pen trajectories, as one data set."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrine.model import PIXELS_SHAPE, Shape
from vitrine.training.data.examples import UNKNOWN, Dataset, Examples
from vitrine.training.data.mnist import load_mnist
from vitrine.training.data.pen_digits import load_pen_digits


def load_handwriting(
    data_dir: Path | None = None, pen_data: Path | None = None, shape: Shape = PIXELS_SHAPE, *, progress: bool = True
) -> Dataset:
    """MNIST and UNIPEN's digits, each with its own held-out part; sources tell which is which.

    Args:
        data_dir: where MNIST is; None downloads it: see `load_mnist`.
        pen_data: where UNIPEN is; None looks into `data_dir`: see `load_unipen`.
        shape: height and width of the pixels.
        progress: whether to show bars.

    Raises:
        DataError: a file is missing, truncated or damaged; the text names it, and says where to put what.
        DownloadError: no mirror gives a file of MNIST.
    """
    pen = load_pen_digits(pen_data or data_dir, shape, progress=progress)  # first: it says what is missing
    mnist = load_mnist(data_dir, shape, progress=progress)
    train, test = (_together(*parts) for parts in ((mnist.train, pen.train), (mnist.test, pen.test)))
    return Dataset("handwriting", train, test, source="handwriting")


def _together(mnist: Examples, pen: Examples) -> Examples:
    """Both with all that is known of them; writers of the two never share a number."""
    writers, others = (_filled(part.writers, len(part), UNKNOWN) for part in (mnist, pen))
    return replace(
        mnist + pen,
        writers=np.concatenate((writers, others + writers.max() + 1)),
        sources=np.concatenate((np.full(len(mnist), "mnist"), _filled(pen.sources, len(pen), "unipen"))),
        drawings=np.concatenate([_filled(part.drawings, len(part), 0) for part in (mnist, pen)]),
    )


def _filled(column: npt.NDArray[Any] | None, count: int, value: int | str) -> npt.NDArray[Any]:
    """A column of facts, or `count` times the same value where nothing is known."""
    return np.full(count, value) if column is None else column
