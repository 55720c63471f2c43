"""Keeps weights that lie beside an ONNX file in memory that nobody can change: one copy for all workers.

A mapped file can still be written to, or cut off, after it was checked. So its bytes are copied into a memory file,
which is sealed before it is hashed; see memfd_create(2). That takes no place in a file system, and isn't bounded by a
container's /dev/shm. Workers find each other's memory files by a register, and each hashes what it has found. A memory
file lives as long as any process uses it. It knows neither ONNX nor models.
"""

import fcntl
import hashlib
import logging
import mmap
import os
import shutil
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from vitrine.model import ArtifactError
from vitrine.server.engine.memory import check_memory
from vitrine.server.files import open_regular_file

if sys.platform == "linux":
    SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    """All of them: nobody can change the bytes, nor take a seal away."""

logger = logging.getLogger(__name__)

NAME = "vitrine-weights"
"""The name of the memory files, which /proc shows."""

CHUNK_BYTES = 1 << 20
"""Bytes that are copied at a time."""


def open_weights(path: Path, sha256: str | None, register: str = "") -> memoryview:
    """The bytes of a file of weights, read-only. They stay what they are, whatever becomes of the file.

    Args:
        path: the file.
        sha256: the digest that its bytes must have, in hex.
        register: the register of processes that share weights, of `weights_register`; empty: this one has its own copy.

    Raises:
        ArtifactError: the file can't be read or has another digest, or there is no memory for it.
    """
    try:
        with open_regular_file(path) as file, _locked(register) as shared:
            weights = shared.find(sha256) or _Weights.copied(file)
            if weights.sha256 == sha256:
                shared.add(weights)
    except OSError as error:
        raise ArtifactError(f"{path.name} can't be read: {error.strerror}") from error
    if weights.sha256 != sha256:
        raise ArtifactError(f"{path.name} beside it isn't the file that it was exported with: their SHA-256 differ")
    return weights.view


class _Weights:
    """Weights in memory.

    Args:
        content: their bytes.
        number: the number of the memory file that they are mapped from, which stays open for other processes as long
            as any view of the mapping is used; None: they are in this process's own memory.
    """

    def __init__(self, content: bytes | mmap.mmap, number: int | None = None) -> None:
        self.view = memoryview(content)
        self.number = number
        self.sha256 = hashlib.sha256(content).hexdigest()
        """The digest of their bytes, in hex."""

    @classmethod
    def copied(cls, file: IO[bytes]) -> "_Weights":
        """A copy of a file, which nobody can change.

        Raises:
            OSError: it can't be read, or there is no room for it.
            ArtifactError: there is no memory for it.
        """
        size = os.fstat(file.fileno()).st_size
        check_memory(size, size)
        number = _memory_file() if size else None
        if number is None:
            return cls(file.read())
        try:
            with os.fdopen(number, "wb", closefd=False) as copy:
                shutil.copyfileobj(file, copy, CHUNK_BYTES)
            fcntl.fcntl(number, fcntl.F_ADD_SEALS, SEALS)
        except OSError:
            os.close(number)
            raise
        return cls.mapped(number)

    @classmethod
    def mapped(cls, number: int) -> "_Weights":
        """The mapping of a sealed memory file, which it closes at its end."""
        try:
            mapping = mmap.mmap(number, 0, access=mmap.ACCESS_READ)
        except OSError:
            os.close(number)
            raise
        weakref.finalize(mapping, os.close, number)
        return cls(mapping, number)


def _memory_file() -> int | None:
    """The number of an empty memory file; None where the system has none."""
    if sys.platform != "linux":
        return None
    try:
        return os.memfd_create(NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:  # a sandbox forbids it
        logger.warning("weights aren't shared between workers, since there are no memory files: %s", error.strerror)
        return None


@contextmanager
def weights_register() -> Iterator[str]:
    """The path of a register of weights, while the context lasts; empty where processes can't share any.

    It is a memory file itself, which other processes find in /proc: a server may have no folder that it can write to.
    """
    number = _memory_file()
    if number is None:
        yield ""
        return
    with os.fdopen(number, "wb"):
        yield f"/proc/{os.getpid()}/fd/{number}"


class _Register:
    """The register of weights, while this process holds its lock. Each line is SHA256 PID NUMBER.

    Args:
        file: the register; None: there is none.
    """

    def __init__(self, file: IO[str] | None = None) -> None:
        self._file = file

    def find(self, sha256: str | None) -> _Weights | None:
        """The weights with a digest that another process has, or this one; None: no process has them."""
        for digest, process, number in self._entries():
            if digest == sha256 and (opened := _open_sealed(process, number)) is not None:
                weights = _Weights.mapped(opened)
                if weights.sha256 == sha256:
                    return weights
        return None

    def add(self, weights: _Weights) -> None:
        """Adds weights of this process, and drops those that nobody has any more."""
        if self._file is None or weights.number is None:
            return
        own = (weights.sha256, str(os.getpid()), str(weights.number))
        kept = [entry for entry in self._entries() if _is_sealed(entry[1], entry[2]) and entry[1:] != own[1:]]
        self._file.seek(0)
        self._file.truncate()
        self._file.writelines(f"{' '.join(entry)}\n" for entry in [*kept, own])

    def _entries(self) -> list[tuple[str, str, str]]:
        if self._file is None:
            return []
        self._file.seek(0)
        return [(digest, process, number) for digest, process, number in map(str.split, self._file)]


@contextmanager
def _locked(register: str) -> Iterator[_Register]:
    """A register that other processes wait for, so that of several which need the same weights one copies them."""
    if not register:
        yield _Register()
        return
    try:
        file = Path(register).open("r+")  # noqa: SIM115 - closed below
    except OSError as error:  # the supervisor has gone, or a sandbox hides it
        logger.warning("weights aren't shared between workers, since there is no register: %s", error.strerror)
        yield _Register()
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed, or this process ends
        yield _Register(file)


def _is_sealed(process: str, number: str) -> bool:
    """True if another process's open file is one of these memory files, and not what has its number by now."""
    try:
        return os.readlink(f"/proc/{process}/fd/{number}") == f"/memfd:{NAME} (deleted)"  # noqa: PTH115 - a name
    except OSError:
        return False


def _open_sealed(process: str, number: str) -> int | None:
    """Opens another process's memory file, to read; None if it has gone or isn't sealed."""
    if not _is_sealed(process, number):
        return None
    try:
        opened = os.open(f"/proc/{process}/fd/{number}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    with suppress(OSError):  # it has no seals: its number became that of another kind of file meanwhile
        if fcntl.fcntl(opened, fcntl.F_GET_SEALS) & SEALS == SEALS:
            return opened
    os.close(opened)
    return None
