"""A folder of one's own images as a data set: `LABEL/name.png`, one folder for each class.

It knows folders and labels; `vitrine.model` reads the image files.
"""

import hashlib
import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from vitrine.model import PIXELS_SHAPE, ArtifactError, Shape
from vitrine.model.artifact import check_label
from vitrine.model.labels import find_same
from vitrine.training.data.cache import cache_dir, prepare_all
from vitrine.training.data.examples import Dataset, Examples, held_out_count
from vitrine.training.errors import MOST_LISTED, BrokenImagesError, DataError, list_problems
from vitrine.training.files.atomic import write_bytes

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
"""The suffixes of files that are images; other files are ignored."""

TEST_SHARE = 0.2
"""The share that is held out."""

FEWEST = 3
"""The different images that a class needs: one each to train, to validate and to test with."""

SYSTEM_FOLDERS = frozenset({"__MACOSX", "lost+found", "$RECYCLE.BIN", "System Volume Information"})
"""Folders that archives and file systems make; they are no classes."""

SYSTEM_FILES = frozenset({"Thumbs.db", "desktop.ini"})
"""Files that file managers make; they are ignored without a warning."""

_log = logging.getLogger(__name__)

Images: TypeAlias = Mapping[str, Path]
"""A class's image files by the SHA-256 of their content, in hex and ascending; exact copies count once."""


def load_folder(folder: Path, shape: Shape = PIXELS_SHAPE, *, progress: bool = True) -> Dataset:
    """A folder of images as a data set, 20 % of each class held out.

    An image's content decides its side, by its rank among those of its class. So names don't matter, and when images
    are added or taken away, nearly all others stay on their side.

    A folder that is divided already, into `train` and `test`, keeps that division.

    Args:
        folder: it has a folder for each class, named by its label, with the images of that class in it. These are
            all the classes: with the labels 0 to 9 they are `DIGITS`. Or it has `train` and `test`, and each of them
            has such folders.
        shape: height and width of the pixels.
        progress: whether to show a bar.

    Raises:
        DataError: the folder is missing, has a label that no class can have, or has too few classes or images.
        BrokenImagesError: images can't be read; the text names the first ones, and a file with all of them.
    """
    if _is_divided(folder):
        found, sides = _find_divided(folder)
    else:
        found = _find_images(folder)
        sides = [_is_held_out(len(images)) for images in found.values()]
    classes = _classes_of(found)
    digests = [digest for images in found.values() for digest in images]
    paths = [path for images in found.values() for path in images.values()]
    labels = [classes.index(label) for label, images in found.items() for _ in images]
    held_out = np.concatenate(sides)
    key = hashlib.sha256("".join(digests).encode()).hexdigest()
    try:
        prepared = prepare_all(paths, key, "folder", shape, progress=progress)
    except BrokenImagesError as error:
        raise _with_list(folder, error) from error
    files = np.array([path.relative_to(folder).as_posix() for path in paths])
    examples = Examples(prepared.pixels, np.array(labels, np.int64), prepared.originals, files=files)
    _warn_of_content(folder, classes, examples)
    train, test = examples[np.flatnonzero(~held_out)], examples[np.flatnonzero(held_out)]
    return Dataset(folder.resolve().name, train, test, classes, str(folder.resolve()))


def _with_list(folder: Path, error: BrokenImagesError) -> BrokenImagesError:
    """The error with the name of a file that lists every broken image, if its text can't."""
    if len(error.problems) <= MOST_LISTED:
        return error
    file = cache_dir() / "broken" / f"{folder.resolve().name}.txt"
    try:
        write_bytes(file, "".join(f"{problem}\n" for problem in error.problems).encode(errors="backslashreplace"))
    except OSError:
        return error
    return BrokenImagesError.of(error.reason, error.problems, f"; all are listed in {file}")


def _classes_of(labels: Iterable[str]) -> tuple[str, ...]:
    """The classes in their order: numbers by their value, other labels by the alphabet."""
    found = sorted(labels)
    return tuple(sorted(found, key=int) if all(label.isascii() and label.isdecimal() for label in found) else found)


def _warn_of_content(folder: Path, classes: tuple[str, ...], examples: Examples) -> None:
    """Warns of classes without any ink, and of images with equal pixels in several classes: nobody can learn these."""
    inked = examples.pixels.any(axis=(1, 2))  # (N,)
    labels_of: dict[bytes, set[int]] = defaultdict(set)
    for pixels, label in zip(examples.pixels[inked], examples.labels[inked], strict=True):
        labels_of[pixels.tobytes()].add(int(label))
    if empty := sorted(set(range(len(classes))) - set(examples.labels[inked].tolist())):
        names = ", ".join(classes[label] for label in empty[:MOST_LISTED])
        _log.warning("%s: classes whose images are all empty paper: %d, such as %s", folder, len(empty), names)
    if several := [sorted(labels) for labels in labels_of.values() if len(labels) > 1]:
        names = " and ".join(classes[label] for label in several[0][:2])
        _log.warning("%s: images that are equal in several classes: %d, such as of %s", folder, len(several), names)


def _is_held_out(images: int) -> npt.NDArray[np.bool_]:
    return np.arange(images) < held_out_count(images, TEST_SHARE)


def _is_divided(folder: Path) -> bool:
    """True for a folder with `train` and `test` and no further class, if these have folders in them."""
    parts = [folder / "train", folder / "test"]
    return (
        folder.is_dir()
        and sorted(entry for entry in folder.iterdir() if _is_class(entry)) == sorted(parts)
        and all(any(_is_class(entry) for entry in part.iterdir()) for part in parts)
    )


def _find_divided(folder: Path) -> tuple[dict[str, Images], list[npt.NDArray[np.bool_]]]:
    """The image files of each class, those of `train` first, and whether each is held out: bool (N,) for each class."""
    train, test = _find_images(folder / "train", FEWEST - 1), _find_images(folder / "test", 1)
    if other := train.keys() ^ test.keys():
        raise DataError(f"{folder} has classes in one of train and test only: {', '.join(sorted(other)[:MOST_LISTED])}")
    of_train = {digest: path for images in train.values() for digest, path in images.items()}
    if both := [path for images in test.values() for digest, path in images.items() if digest in of_train]:
        raise DataError(f"{folder} has the same image in train and in test, such as {both[0]}: take it out of one")
    found: dict[str, Images] = {label: {**train[label], **test[label]} for label in train}
    return found, [np.arange(len(found[label])) >= len(train[label]) for label in found]


def _find_images(folder: Path, fewest: int = FEWEST) -> dict[str, Images]:
    """The image files of each class, by its label; each class has at least `fewest`."""
    if not folder.is_dir():
        raise DataError(f"there is no data set {folder}: it is neither digits nor mnist, nor a folder")
    labels = sorted(entry for entry in folder.iterdir() if _is_class(entry))
    if len(labels) < 2:
        raise DataError(
            f"{folder} has {len(labels) or 'no'} folder{'s' * (len(labels) != 1)} of images: "
            "two classes or more need one each, named by its label, such as 0 and 1"
        )
    _check_labels(folder, [label.name for label in labels])
    found = {label.name: _images_of(label) for label in labels}
    if problems := [
        _too_few(folder / name, len(images), fewest) for name, images in found.items() if len(images) < fewest
    ]:
        raise DataError(list_problems(problems))
    _warn_of_ignored(folder, labels)
    return found


def _is_class(entry: Path) -> bool:
    """True for a folder that isn't hidden, a system's own, or a link to a folder that holds it."""
    if not entry.is_dir() or entry.name.startswith(".") or entry.name in SYSTEM_FOLDERS:
        return False
    return not entry.parent.resolve().is_relative_to(entry.resolve())


def _check_labels(folder: Path, labels: list[str]) -> None:
    if same := find_same(labels):
        raise DataError(
            f"{folder} has two folders with the same label, {same[0]!r} ({same[0]!a}) and {same[1]!r} ({same[1]!a}): "
            "put their images into one"
        )
    problems = []
    for label in labels:
        try:
            check_label(label)
        except ArtifactError as error:
            problems.append(str(error))
    if problems:
        raise DataError(f"{folder} has a folder that can't be a class: {list_problems(problems)}")


def _images_of(label: Path) -> Images:
    files = (path for path in label.iterdir() if _is_image(path))
    images = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in sorted(files) if path.is_file()}
    return dict(sorted(images.items()))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _too_few(label: Path, images: int, fewest: int) -> str:
    others = sorted(path.name for path in label.iterdir() if path.is_file() and _may_be_meant(path))
    unread = f" (files such as {others[0]} aren't read: save them as PNG or JPEG)" if others else ""
    return (
        f"{label} has {images or 'no'} different image{'s' * (images != 1)}, folders in it not counted: "
        f"a class needs at least {fewest}{unread}"
    )


def _may_be_meant(path: Path) -> bool:
    """True for a visible file that is no image by its suffix."""
    return not _is_image(path) and not path.name.startswith(".") and path.name not in SYSTEM_FILES


def _warn_of_ignored(folder: Path, labels: list[Path]) -> None:
    """Warns of images in deeper folders and of files without an image's suffix, which may be meant as images."""
    deeper, others = 0, 0
    for label in labels:
        for place, folders, names in os.walk(label):
            folders[:] = [name for name in folders if not name.startswith(".") and name not in SYSTEM_FOLDERS]
            visible = [Path(place, name) for name in names if not name.startswith(".") and name not in SYSTEM_FILES]
            images = sum(map(_is_image, visible))
            others += len(visible) - images
            deeper += images if Path(place) != label else 0
    if deeper or others:
        _log.warning(
            "%s: ignored images in folders within a class: %d; ignored files without an image's suffix: %d",
            folder,
            deeper,
            others,
        )
