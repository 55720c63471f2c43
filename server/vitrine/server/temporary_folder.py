"""A temporary folder whose owner may be killed: the next one removes what is left.

It lies in the usual place, or in shared memory where no disk can be written, as in a container with a read-only root.
Each folder has a file that its owner keeps locked, and other processes that use it. The lock of a process that has died
is free.
"""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = "lock"

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # its folders are as private as those in /tmp
"""Linux's file system in memory, which containers have even where their root is read-only."""


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
        with (folder / f"new-{LOCK}").open("w+") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            (folder / f"new-{LOCK}").rename(folder / LOCK)  # a lock that is found is never one that isn't locked yet
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep_folder(folder: Path) -> int:
    """Keeps an owner's folder for as long as a file is open, in whatever process, even if the owner is killed.

    A folder that has been swept away, as cleaners of temporary files do, is made anew.

    Returns:
        The open file's number; processes that are started may take it over.

    Raises:
        OSError: it can't be made, or somebody else has taken its name.
    """
    while True:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                raise PermissionError(errno.EPERM, "it belongs to somebody else", str(folder))
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:  # it has been removed since
            continue
        fcntl.flock(lock, fcntl.LOCK_SH)
        if _is_there(folder / LOCK, lock):
            return lock
        os.close(lock)  # another process held it to remove the folder, and has done so


def _is_there(path: Path, file: int) -> bool:
    """Tells whether an open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def writable_place() -> Path:
    """The folder for temporary files: the system's, or shared memory where no other can be written to.

    Raises:
        FileNotFoundError: there is neither.
    """
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:  # nowhere among TMPDIR, /tmp and the like can be written
        if os.access(SHARED_MEMORY, os.W_OK):
            return SHARED_MEMORY
        raise


def _remove_orphans(place: Path, prefix: str) -> None:
    for folder in place.glob(f"{prefix}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            with (folder / LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # its owner lives, or has just removed it
            continue
