"""Files that an operator may replace while the server runs: their present content, or the last one that was good.

It knows nothing of that content. The files are looked at whenever it is asked for, which costs a few microseconds, so
that the very next request or connection meets a change, and no thread has to watch.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from vitrine.server.errors import FileError, FileUnavailable
from vitrine.server.files import read_regular_file

logger = logging.getLogger(__name__)

Content = TypeVar("Content")
Stamp: TypeAlias = tuple[int, ...] | None
"""The state that tells a file from the one before it; None: there is none."""


class WatchedFiles(Generic[Content]):
    """The content of some files, read again when one of them has changed. Threads may share it.

    Args:
        paths: the files.
        read: reads and checks them all, and raises `FileError` when they can't be used.

    Raises:
        FileError: they can't be used to begin with.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[], Content]) -> None:
        self._paths = paths
        self._read = read
        self._lock = threading.Lock()
        self._stamps = self._look()
        self._content = read()
        self._refused: list[Stamp] | None = None
        self._logged = ""

    @property
    def changed(self) -> bool:
        """True if `current` would read the files again."""
        return self._look() not in (self._stamps, self._refused)

    def current(self) -> Content:
        """The content, or the one before the files were damaged; the same object until they change.

        Files whose content can't be used are read again when they change. Files that can't be read at all are tried
        each time.
        """
        with self._lock:
            stamps = self._look()  # before reading: a change in between is seen the next time
            if stamps not in (self._stamps, self._refused):
                self._read_again(stamps)
            return self._content

    def _look(self) -> list[Stamp]:
        return [_stamp(path) for path in self._paths]

    def _read_again(self, stamps: list[Stamp]) -> None:
        try:
            self._content = self._read()
        except FileError as error:
            if str(error) != self._logged:
                logger.error("%s; the content before stays in force", error)
            self._logged = str(error)
            self._refused = None if isinstance(error, FileUnavailable) else stamps
            return
        self._stamps, self._refused, self._logged = stamps, None, ""
        logger.info("read again, because of a change: %s", ", ".join(map(str, self._paths)))


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def read_file(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        FileUnavailable: it can't be read, or is no regular file.
    """
    try:
        return read_regular_file(path)
    except OSError as error:
        raise FileUnavailable(f"{path} can't be read: {error.strerror}") from error
