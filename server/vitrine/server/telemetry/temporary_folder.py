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


@contextmanager
def owned_folder(prefix: str) -> Iterator[Path]:
    """A new folder, removed at the end; folders of the same prefix and user whose owner has died are removed first.

    Raises:
        OSError: there is no place for it.
    """
    _remove_orphans(prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        with (folder / f"new-{LOCK}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / f"new-{LOCK}").rename(folder / LOCK)  # a lock that is found is never one that isn't locked yet
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_orphans(prefix: str) -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            with (folder / LOCK).open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # its owner lives, or has just removed it
            continue
