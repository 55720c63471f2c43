"""The data that a command asks for by a run or by flags."""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vitrine.training.data import Split, load_mnist_images
from vitrine.training.errors import DataError
from vitrine.training.run.checkpoint import Checkpoint


def source_of(checkpoint: Checkpoint, source: str | None) -> str:
    """The data set that was asked for, else that of the run.

    Raises:
        DataError: none was asked for, and the run's was built by a program.
    """
    if found := source or checkpoint.identity.source:
        return found
    raise DataError(
        f"the run's data set {checkpoint.identity.dataset} was built by a program: choose a data set with --dataset"
    )


def mnist_images(
    split: Split, data_dir: Path | None, quiet: bool
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """MNIST's raw images and labels, from `data_dir` or VITRINE_DATA_DIR if given."""
    folder = data_dir or (Path(found) if (found := os.environ.get("VITRINE_DATA_DIR")) else None)
    return load_mnist_images(split, folder, progress=not quiet)
