"""The folder of parts: their names, their bound, and what killed processes left there. It knows nothing of Parquet.

Several processes may write to one folder, also those of several servers. A part that is being written has a hidden name
and a lock, which a process that is killed loses.
"""

import errno
import fcntl
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vitrine.server.errors import StartupError

PART = re.compile(r"capture-\d{8}T\d{6}Z-[0-9a-f]{8}-\d{6}\.parquet")
"""Names of complete parts, in the order of their beginning. Other files in the folder are left alone."""

OPEN = re.compile(rf"\.{PART.pattern}\.tmp")
"""Names of parts that are being written; readers of Parquet pass over hidden files."""

LOCKED_WITHIN = 60.0
"""Seconds after which a file without a lock is one that a killed process left."""

NO_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The errors of a disk that is full. It may be full of something else, so no part is deleted for them."""


def prepare_folder(folder: Path) -> None:
    """Makes the folder of parts where it isn't there, for its owner alone, and writes to it.

    A full disk is no reason not to serve: the server says so while it runs.

    Raises:
        StartupError: the folder can't be made or written to.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if error.errno not in NO_DISK:
            raise StartupError(f"--capture {folder} can't be written to: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A part that is being written."""

    file: IO[bytes]
    """The file, locked."""
    path: Path
    """Its hidden path."""

    def publish(self) -> int:
        """Gives the complete file its name; its content is whole after a power failure, too. Gives its bytes.

        Raises:
            OSError: the disk is full, or the folder has gone.
        """
        self.file.flush()
        os.fsync(self.file.fileno())
        size = os.fstat(self.file.fileno()).st_size
        self.path.rename(self.path.with_name(self.path.name.removeprefix(".").removesuffix(".tmp")))
        self.file.close()
        return size

    def discard(self) -> None:
        """Removes the file. What is still written to it, as when it is closed, goes nowhere and doesn't fail."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
        if self.file.closed:
            return
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.dup2(nowhere, self.file.fileno(), inheritable=False)
            finally:
                os.close(nowhere)


class CaptureFolder:
    """The parts in a folder.

    Args:
        folder: the folder.
        max_bytes: the most bytes of all parts.
        part_bytes: the most bytes of one: those that are being written count as full ones.
        part_seconds: the most seconds for which one is written.
    """

    def __init__(self, folder: Path, max_bytes: int, part_bytes: int, part_seconds: float) -> None:
        self._folder, self._max_bytes, self._part_bytes = folder, max_bytes, part_bytes
        self._left_after = 2 * part_seconds
        self._token, self._number = secrets.token_hex(4), 0

    def open_file(self) -> OpenFile:
        """A new file for a part, readable by its owner alone. The oldest parts are deleted to make room for it.

        Raises:
            OSError: it can't be made.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # an operator may have removed it
        self._number += 1
        begun = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        path = self._folder / f".capture-{begun}-{self._token}-{self._number:06}.parquet.tmp"
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
        opened = OpenFile(file, path)
        try:
            _lock(file)
            self._make_room()
        except OSError:
            opened.discard()
            file.close()
            raise
        return opened

    def _make_room(self) -> None:
        """Deletes the oldest parts beyond the bound, and what killed processes left."""
        parts, used = [], 0
        for entry, stat in _entries(self._folder):
            if PART.fullmatch(entry.name):
                parts.append((entry.name, stat.st_size))
                used += stat.st_size
            elif OPEN.fullmatch(entry.name):
                if _is_left(entry, stat, self._left_after):
                    Path(entry.path).unlink(missing_ok=True)
                else:
                    used += self._part_bytes
        for name, size in sorted(parts):
            if used <= self._max_bytes:
                return
            (self._folder / name).unlink(missing_ok=True)  # another process may have been faster
            used -= size


def _entries(folder: Path) -> Iterator[tuple["os.DirEntry[str]", os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # another process has published or deleted it
                yield entry, entry.stat(follow_symlinks=False)


def _lock(file: IO[bytes]) -> None:
    with suppress(OSError):  # some network file systems have no locks: there, files count as abandoned by their age
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_left(entry: "os.DirEntry[str]", stat: os.stat_result, left_after: float) -> bool:
    """True if nobody has the file's lock; a new file may get its lock in a moment.

    Where there are no locks, a file is left that nobody has written to for `left_after` seconds: else those of killed
    processes would take the room of complete parts, more and more of it.
    """
    age = time.time() - stat.st_mtime
    if age < LOCKED_WITHIN:
        return False
    try:
        with Path(entry.path).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError, FileNotFoundError):  # held, another user's, or complete
        return False
    except OSError:
        return age > left_after
    return True
