"""Reads files that an operator names. It knows nothing of their content."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def read_regular_file(path: Path) -> bytes:
    """The bytes of a regular file, opened as by `open_regular_file`."""
    with open_regular_file(path) as file:
        return file.read()


@contextmanager
def open_regular_file(path: Path) -> Iterator[IO[bytes]]:
    """Opens a regular file. Another kind is refused: opening a FIFO or reading a device can take for ever.

    Raises:
        OSError: it can't be read, or is no regular file.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is a FIFO, a device or a socket, and only regular files are read")
        yield file
