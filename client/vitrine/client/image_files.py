"""Image files by their names: in folders, and among the members of an archive. It opens none."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif"}
)
"""Suffixes of image files. Kinds that can't be read are among them: each is named, with what to do."""


def is_image(name: str) -> bool:
    """True if a file's name, which may have folders before it, is that of an image. Hidden files are none."""
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def images_in(folder: Path) -> Iterator[Path]:
    """The images in a folder and in the folders in it, in no order. Hidden folders are passed over.

    A folder in it that can't be read is among them: reading it as an image says why, so nothing is left out in silence.

    Raises:
        OSError: the folder itself can't be read.
    """
    unread: list[OSError] = []
    for place, folders, names in os.walk(folder, onerror=unread.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if is_image(name))
    for error in unread:
        if Path(error.filename) == folder:
            raise error
        yield Path(error.filename)
