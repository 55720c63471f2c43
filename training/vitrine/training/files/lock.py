"""Lets one process at a time into a folder. It knows neither runs nor downloads.

The lock is the operating system's: it ends with its process, however that ends. Its file stays, because whoever took a
lock on a file that another one removes would share it with nobody.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vitrine.training.errors import TrainingError


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Holds the lock that the file `path` stands for; its folder is made where there is none.

    Raises:
        TrainingError: another process holds it, and `wait` is False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(f"another process is writing into {path.parent}: wait for it to end") from error
        yield
