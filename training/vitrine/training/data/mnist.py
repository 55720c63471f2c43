"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 28 × 28 (LeCun, Cortes and Burges 1998).

Finds its four files in a folder, or downloads them into the user's cache. No writer of a test image wrote a training
image.
"""

import hashlib
from pathlib import Path

import numpy as np

from vitrine.model import DIGITS
from vitrine.training.data.cache import cache_dir, prepare_all
from vitrine.training.data.download import RemoteFile, download
from vitrine.training.data.examples import Dataset, Examples
from vitrine.training.data.idx import read_idx
from vitrine.training.errors import DataError

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
"""Where the files are fetched from: the original site no longer gives them to programs."""

FILES = (
    RemoteFile("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    RemoteFile("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
    RemoteFile("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
    RemoteFile("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
)
"""The four files, with their published checksums: training images and labels, then test images and labels."""


def load_mnist(data_dir: Path | None = None, *, progress: bool = True) -> Dataset:
    """MNIST, prepared, with its own test part.

    Args:
        data_dir: a folder that has the four files, gzipped or not, or has them in `mnist/`; None downloads them.
        progress: whether to show bars.

    Raises:
        DataError: a file is missing, truncated or damaged; the text names it.
        DownloadError: no mirror gives a file.
    """
    files = _download_all(progress) if data_dir is None else [_find(data_dir, file.name) for file in FILES]
    train_images, train_labels, test_images, test_labels = files
    train = _read_part(train_images, train_labels, progress)
    test = _read_part(test_images, test_labels, progress)
    return Dataset("mnist", train, test, "mnist")


def _download_all(progress: bool) -> list[Path]:
    return [download(file, cache_dir() / "mnist", MIRRORS, progress=progress) for file in FILES]


def _find(data_dir: Path, name: str) -> Path:
    places = [folder / form for folder in (data_dir, data_dir / "mnist") for form in (name, name.removesuffix(".gz"))]
    for place in places:
        if place.is_file():
            return place
    raise DataError(f"{data_dir} has no {name}, nor has its folder mnist: put MNIST's four files there")


def _read_part(images_path: Path, labels_path: Path, progress: bool) -> Examples:
    images = read_idx(images_path, dimensions=3)  # (N, 28, 28), 255 = ink: `prepare` sees that the paper is black
    labels = read_idx(labels_path, dimensions=1)
    if len(images) != len(labels):
        raise DataError(f"{labels_path} has {len(labels):,} labels for the {len(images):,} images of {images_path}")
    if images.size == 0:
        raise DataError(f"{images_path} has no images")
    if labels.max() >= len(DIGITS):
        raise DataError(f"{labels_path} is damaged: it has the label {labels.max()}, and digits end at 9")
    name = images_path.name.split("-")[0]
    pixels = prepare_all(images, hashlib.sha256(images.tobytes()).hexdigest(), f"mnist-{name}", progress=progress)
    return Examples(pixels, labels.astype(np.int64))
