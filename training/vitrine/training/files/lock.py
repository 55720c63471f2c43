"""Locks a folder for one process at a time. It knows neither runs nor downloads.

The operating system releases the lock when the process ends, for any reason. The lock file is never removed: a process
could otherwise hold a lock on a removed file while another locks a new file.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vitrine.training.errors import TrainingError


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Holds the lock on the file `path` within the block; creates its folder if necessary.

    Raises:
        TrainingError: another process holds the lock, and `wait` is False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(f"another process is writing into {path.parent}: wait for it to end") from error
        yield
