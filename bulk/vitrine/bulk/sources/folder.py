"""A folder of image files, folders in it included, in the order of their paths."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from vitrine.bulk.chunks import Files
from vitrine.bulk.sources.source import Part, Source, cut, fingerprint_of, in_chunks
from vitrine.client.image_files import images_in
from vitrine.model import VitrineError


class Folder(Source):
    """The image files in a folder. Hidden files and folders aren't among them.

    A folder in it that can't be read counts as an image that can't be: what it has isn't left out in silence.

    Args:
        path: the folder.
        part_images: images from which on a part is full.

    Raises:
        VitrineError: it has no images.
    """

    def __init__(self, path: Path, part_images: int) -> None:
        self._path = path
        self._files = _images_in(path)
        if not self._files:
            raise VitrineError(f"{path} has no images: files such as .png or .jpg, also in folders in it")
        self._ranges = cut([1] * len(self._files), part_images)

    @cached_property
    def parts(self) -> Sequence[Part]:
        """Its parts."""
        return [Part(number, len(files)) for number, files in enumerate(self._ranges)]

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the files' names and sizes, and of the parts."""
        return fingerprint_of([*self._ranges, *((name, _size(self._path / name)) for name in self._files)])

    def read(self, part: Part) -> Iterator[Files]:
        """The files of a part; one that can't be read has the reason in its place."""
        names = (self._files[place] for place in self._ranges[part.number])
        return in_chunks((name, _content(self._path / name)) for name in names)


def _images_in(folder: Path) -> list[str]:
    try:
        return sorted(path.relative_to(folder).as_posix() for path in images_in(folder))
    except OSError as error:
        raise VitrineError(f"{folder} can't be read: {error.strerror}") from error


def _size(path: Path) -> int:
    """A file's bytes; −1 if it can't be told."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _content(path: Path) -> bytes | str:
    try:
        if path.is_dir():
            return "it is a folder that can't be read"
        if not path.is_file():  # a FIFO would be waited for
            return "it is no regular file, or is gone"
        return path.read_bytes()
    except OSError as error:
        return f"it can't be read: {error.strerror}"
