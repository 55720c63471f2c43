"""A temporary folder whose owner may be killed: the next one removes what is left.

Each folder has a file that its owner keeps locked. The lock of a process that has died is free.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = "lock"

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - folders in it have names of their own, and belong to one user
"""A place in memory that containers have even where their file system can't be written to."""


@contextmanager
def owned_folder(prefix: str) -> Iterator[Path]:
    """A new folder, removed at the end; folders of the same prefix and user whose owner has died are removed first.

    Raises:
        OSError: there is no place for it.
    """
    place = writable_place()
    _remove_orphans(place, prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    try:
        with (folder / f"new-{LOCK}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / f"new-{LOCK}").rename(folder / LOCK)  # a lock that is found is never one that isn't locked yet
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def writable_place() -> str:
    """The folder for temporary files: the system's, or shared memory where no other can be written to."""
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        return SHARED_MEMORY


def _remove_orphans(place: str, prefix: str) -> None:
    for folder in Path(place).glob(f"{prefix}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            with (folder / LOCK).open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # its owner lives, or has just removed it
            continue
