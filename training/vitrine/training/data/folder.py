"""A folder of one's own images as a data set: `LABEL/name.png`, one folder for each class.

It knows folders and labels; what an image file is, `vitrine.model` knows.
"""

import hashlib
from pathlib import Path

import numpy as np

from vitrine.training.data.cache import prepare_all
from vitrine.training.data.examples import Dataset, Examples, stratified_split
from vitrine.training.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
"""The names of files that count as images; others, such as notes, are passed over."""

TEST_SHARE = 0.2
"""How much is held out."""

SPLIT_SEED = 0
"""The same folder is split alike for every run."""

FEWEST = 3
"""The images that a class needs: one each to train, to validate and to test with."""


def load_folder(folder: Path, *, progress: bool = True) -> Dataset:
    """A folder of images as a data set, 20 % of each class held out.

    Args:
        folder: it has a folder for each class, named like the class, with that class's images in it.
        progress: whether to show a bar.

    Raises:
        DataError: the folder is missing, or has too few classes or images.
        ImageError: an image can't be read; the text names it.
    """
    images = _find_images(folder)
    classes = tuple(images)
    paths = [path for members in images.values() for path in members]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(members) for members in images.values()])
    examples = Examples(prepare_all(paths, _digest(paths), "folder", progress=progress), labels)
    kept, held_out = stratified_split(labels, TEST_SHARE, SPLIT_SEED)
    return Dataset(folder.resolve().name, classes, examples[kept], examples[held_out], str(folder.resolve()))


def _find_images(folder: Path) -> dict[str, list[Path]]:
    """The image files of each class, by label; both in alphabetical order."""
    if not folder.is_dir():
        raise DataError(f"there is no data set {folder}: it is neither digits nor mnist, nor a folder")
    labels = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    images = {label.name: _images_of(label) for label in labels}
    if len(images) < 2:
        raise DataError(f"{folder} has {len(images)} folders of images: each class needs one, named like the class")
    for label, members in images.items():
        if len(members) < FEWEST:
            raise DataError(f"{folder / label} has {len(members)} images: a class needs at least {FEWEST}")
    return images


def _images_of(label: Path) -> list[Path]:
    return sorted(path for path in label.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))


def _digest(paths: list[Path]) -> str:
    """Of the images' contents, in order: names and times of change don't matter."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
