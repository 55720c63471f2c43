"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 28 × 28 (LeCun, Cortes and Burges 1998).

Finds its four files in a folder, or downloads them into the user's cache. No writer of a test image wrote a training
image.
"""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from vitrine.model import DIGITS, PIXELS_SHAPE, Shape
from vitrine.training.data.cache import cache_dir, prepare_all
from vitrine.training.data.download import RemoteFile, download
from vitrine.training.data.examples import Dataset, Examples, split_by_writer
from vitrine.training.data.idx import read_idx
from vitrine.training.errors import DataError

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
"""Download addresses, tried in this order: the original site no longer serves programs."""

FILES = (
    RemoteFile("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    RemoteFile("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
    RemoteFile("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
    RemoteFile("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
)
"""The four files, with their published checksums: training images and labels, then test images and labels."""

PLACES = ("mnist", "MNIST", "MNIST/raw", "raw")
"""Folders in a data folder that may hold the four files; torchvision's is MNIST/raw."""

Split: TypeAlias = Literal["validation", "test"]
"""Parts that aren't trained on: training images of some writers, to decide by, and the test images."""

WRITERS = "writers.npz"
"""File with the writer of each training image, beside MNIST's files: int `train_writer` (60000,), from QMNIST."""

VALIDATION = 0.1
"""The share of the writers whose images are the validation part: what a fit holds out, unless it is told otherwise."""


def load_mnist(data_dir: Path | None = None, shape: Shape = PIXELS_SHAPE, *, progress: bool = True) -> Dataset:
    """MNIST, prepared, with its own test part.

    Where `writers.npz` lies beside the training images, they know their writers.

    Args:
        data_dir: a folder that has the four files, gzipped or not, itself or in one of `PLACES`, under the names of
            their site, of torchvision or of Kaggle; None downloads them.
        shape: height and width of the pixels.
        progress: whether to show bars.

    Raises:
        DataError: a file is missing, truncated or damaged; the text names it.
        DownloadError: no mirror gives a file.
    """
    files = _download_all(progress) if data_dir is None else [_find(data_dir, file.name) for file in FILES]
    train_images, train_labels, test_images, test_labels = files
    train = _with_writers(_read_part(train_images, train_labels, shape, progress), train_images.with_name(WRITERS))
    test = _read_part(test_images, test_labels, shape, progress)
    return Dataset("mnist", train, test, source="mnist")


def load_mnist_images(
    split: Split, data_dir: Path | None = None, *, progress: bool = True
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """MNIST's images of a part as they are, before `prepare`.

    Args:
        split: `validation` takes the training images that a fit holds out, for which `WRITERS` must be there.
        data_dir: as in `load_mnist`.
        progress: whether to show bars.

    Returns:
        uint8 (N, 28, 28), 0 = paper and 255 = ink, and the labels, int64 (N,).

    Raises:
        DataError: a file is missing, truncated or damaged; the text names it.
        DownloadError: no mirror gives a file.
    """
    files = _download_all(progress) if data_dir is None else [_find(data_dir, file.name) for file in FILES]
    images_path, labels_path = files[:2] if split == "validation" else files[2:]
    images, labels = _read_raw(images_path, labels_path)
    if split == "validation":
        _, held_out = split_by_writer(_read_writers(images_path.with_name(WRITERS), len(images)), VALIDATION)
        images, labels = images[held_out], labels[held_out]
    return images, labels


def _read_writers(path: Path, count: int) -> npt.NDArray[np.int64]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            writers: npt.NDArray[np.int64] = arrays["train_writer"].astype(np.int64)
    except FileNotFoundError as error:
        raise DataError(
            f"there is no {path}, which says who wrote what: take the test split, or put it there"
        ) from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    if writers.shape != (count,):
        raise DataError(f"{path} has {writers.shape} writers for {count:,} images")
    return writers


def _with_writers(examples: Examples, path: Path) -> Examples:
    """The examples with who wrote each, where that is known."""
    return replace(examples, writers=_read_writers(path, len(examples))) if path.exists() else examples


def _download_all(progress: bool) -> list[Path]:
    return [download(file, cache_dir() / "mnist", MIRRORS, progress=progress) for file in FILES]


def _find(data_dir: Path, name: str) -> Path:
    """One of the four files, under any of the names that it goes by."""
    forms = [form for plain in (name, _name_at_kaggle(name)) for form in (plain, plain.removesuffix(".gz"))]
    for folder in (data_dir, *(data_dir / place for place in PLACES)):
        for form in forms:
            for path in (folder / form, folder / form / form):  # Kaggle's archive has a folder around each file
                if path.is_file():
                    return path
    raise DataError(f"{data_dir} has no {name}, nor have {', '.join(PLACES)} in it: put MNIST's four files there")


def _name_at_kaggle(name: str) -> str:
    return name.replace("-idx", ".idx")


def _read_part(images_path: Path, labels_path: Path, shape: Shape, progress: bool) -> Examples:
    images, labels = _read_raw(images_path, labels_path)
    name = images_path.name.split("-")[0]
    digest = hashlib.sha256(images.tobytes()).hexdigest()
    prepared = prepare_all(images, digest, f"mnist-{name}", shape, progress=progress)
    return Examples(prepared.pixels, labels, prepared.originals)


def _read_raw(images_path: Path, labels_path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    images = read_idx(images_path, dimensions=3)  # (N, 28, 28), 255 = ink: `prepare` sees that the paper is black
    labels = read_idx(labels_path, dimensions=1)
    if len(images) != len(labels):
        raise DataError(f"{labels_path} has {len(labels):,} labels for the {len(images):,} images of {images_path}")
    if images.size == 0:
        raise DataError(f"{images_path} has no images")
    if labels.max() >= len(DIGITS):
        raise DataError(f"{labels_path} is damaged: it has the label {labels.max()}, and digits end at 9")
    return images, labels.astype(np.int64)
