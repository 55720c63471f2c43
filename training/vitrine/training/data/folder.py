"""A folder of one's own images as a data set: `DIGIT/name.png`, one folder for each digit.

It knows folders and labels; what an image file is, `vitrine.model` knows.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from vitrine.model import DIGITS
from vitrine.training.data.cache import prepare_all
from vitrine.training.data.examples import Dataset, Examples, held_out_count
from vitrine.training.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
"""The names of files that count as images; others, such as notes, are passed over."""

TEST_SHARE = 0.2
"""How much is held out."""

FEWEST = 3
"""The different images that a digit needs: one each to train, to validate and to test with."""

Images: TypeAlias = Mapping[str, Path]
"""A digit's image files by the SHA-256 of their content, in hex and ascending; exact copies count once."""


def load_folder(folder: Path, *, progress: bool = True) -> Dataset:
    """A folder of images as a data set, 20 % of each digit held out.

    An image's content decides on which side it is, by its rank among its digit's: names don't matter, and when images
    are added or taken away, nearly all others stay where they are.

    Args:
        folder: it has a folder for each digit, `0` to `9`, with that digit's images in it; digits may be missing.
        progress: whether to show a bar.

    Raises:
        DataError: the folder is missing, has a label that is no digit, or has too few digits or images.
        ImageError: an image can't be read; the text names it.
    """
    found = _find_images(folder)
    digests = [digest for images in found.values() for digest in images]
    paths = [path for images in found.values() for path in images.values()]
    labels = [digit for digit, images in found.items() for _ in images]
    held_out = np.concatenate([_is_held_out(len(images)) for images in found.values()])
    key = hashlib.sha256("".join(digests).encode()).hexdigest()
    prepared = prepare_all(paths, len(paths), key, "folder", progress=progress)
    examples = Examples(prepared.pixels, np.array(labels, np.int64), prepared.originals)
    train, test = examples[np.flatnonzero(~held_out)], examples[np.flatnonzero(held_out)]
    return Dataset(folder.resolve().name, train, test, str(folder.resolve()))


def _is_held_out(images: int) -> npt.NDArray[np.bool_]:
    return np.arange(images) < held_out_count(images, TEST_SHARE)


def _find_images(folder: Path) -> dict[int, Images]:
    """The image files of each digit."""
    if not folder.is_dir():
        raise DataError(f"there is no data set {folder}: it is neither digits nor mnist, nor a folder")
    labels = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    for label in labels:
        if label.name not in DIGITS:
            raise DataError(f"{label} is no digit: the folders of images are named 0 to 9")
    if len(labels) < 2:
        raise DataError(f"{folder} has {len(labels)} folders of images: each digit needs one, named 0 to 9")
    return {int(label.name): _images_of(label) for label in labels}


def _images_of(label: Path) -> Images:
    files = (path for path in label.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    images = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in sorted(files) if path.is_file()}
    if len(images) < FEWEST:
        raise DataError(f"{label} has {len(images)} different images: a digit needs at least {FEWEST}")
    return dict(sorted(images.items()))
