"""The files of a UNIPEN distribution, from an unpacked folder or straight from an archive.

An archive is never unpacked under the names that it gives: the bytes of its files go, one after the other, to a single
temporary file. It knows folders, names and limits, and nothing of what is in a file.
"""

import lzma
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from vitrine.training.errors import DataError

CATEGORY = "data/1a"
"""The folder of isolated characters; the categories beside it have words and texts."""

INCLUDED = "include"
"""The folder that the names of included files start from."""

ARCHIVES = (".tar", ".tar.xz", ".tar.gz", ".tgz", ".tar.bz2")
"""Suffixes of archives."""

MAX_FILE = 64 << 20
"""Bytes of the largest file that is read; the distribution's own have less than a tenth."""

MAX_TOTAL = 4 << 30
"""Bytes of all files that are read from an archive together: a small archive may unpack to any size."""

DAMAGES = (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError)
"""Errors of reading a damaged archive."""


class Distribution(Protocol):
    """The files of a distribution, by their names in it, such as `data/1a/aga/w001.dat`."""

    def data_files(self) -> list[str]:
        """The names of the files of `CATEGORY`, ascending."""

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: there is no such file.
            DataError: the file is too large, or lies outside of the distribution.
        """


def is_unpacked(folder: Path) -> bool:
    """Tells whether a folder is a distribution."""
    return (folder / CATEGORY).is_dir()


@contextmanager
def opened(place: Path) -> Iterator[Distribution]:
    """A distribution to read from: a folder, or an archive.

    Raises:
        DataError: the archive is damaged or too large, or has links or names that lead elsewhere.
    """
    if place.is_dir():
        yield _Folder(place)
        return
    with tempfile.TemporaryFile() as content:
        yield _Archive(content, _collect(place, content))


@dataclass(frozen=True, slots=True)
class _Folder:
    root: Path

    def data_files(self) -> list[str]:
        found = (self.root / CATEGORY).rglob("*")
        return sorted(path.relative_to(self.root).as_posix() for path in found if _is_data(path.name))

    def read(self, name: str) -> bytes:
        path = self.root / name
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise DataError(f"{path} lies outside of {self.root}")
        if not path.is_file():
            raise FileNotFoundError(path)
        if path.stat().st_size > MAX_FILE:
            raise DataError(f"{path} has more than {MAX_FILE:,} bytes")
        return path.read_bytes()


@dataclass(frozen=True, slots=True)
class _Archive:
    content: IO[bytes]
    places: Mapping[str, tuple[int, int]]
    """Start and length of each file in `content`, in bytes."""

    def data_files(self) -> list[str]:
        return sorted(name for name in self.places if name.startswith(f"{CATEGORY}/") and _is_data(name))

    def read(self, name: str) -> bytes:
        if name not in self.places:
            raise FileNotFoundError(name)
        start, size = self.places[name]
        self.content.seek(start)
        return self.content.read(size)


def _is_data(name: str) -> bool:
    return name.lower().endswith(".dat")


def _collect(path: Path, content: IO[bytes]) -> dict[str, tuple[int, int]]:
    """Copies an archive's files of isolated characters to `content`, and says where each one lies."""
    places = {}
    try:
        with tarfile.open(path, "r|*") as archive:  # a stream: each byte is decompressed once
            for member in archive:
                name = _name_in_distribution(path, member)
                if name is not None and (file := archive.extractfile(member)):
                    start = content.tell()
                    if member.size > MAX_FILE or start + member.size > MAX_TOTAL:
                        raise DataError(f"{path} is too large: stopped at {member.name} of {member.size:,} bytes")
                    content.write(file.read())
                    places[name] = (start, member.size)
    except FileNotFoundError as error:
        raise DataError(f"there is no {path}") from error
    except DataError:
        raise
    except DAMAGES as error:
        raise DataError(f"{path} is damaged: {error}") from error
    return places


def _name_in_distribution(path: Path, member: tarfile.TarInfo) -> str | None:
    """A member's name below the distribution's folder; None for folders, and for what isn't needed."""
    parts = PurePosixPath(member.name).parts
    if member.name.startswith("/") or ".." in parts:
        raise DataError(f"{path} isn't safe: the name {member.name} leads out of it")
    if member.isdir():
        return None
    if not member.isfile():
        raise DataError(f"{path} isn't safe: {member.name} is a link or a device")
    for start in range(len(parts)):
        name = "/".join(parts[start:])
        if name.startswith((f"{CATEGORY}/", f"{INCLUDED}/")):
            return name
    return None
