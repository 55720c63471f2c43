"""Writes files that are there whole or not at all, whatever interrupts the writing. It knows no format."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write to, which takes the place of `path` when the block ends, and vanishes when it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, written = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        publish(Path(written), path)
    except BaseException:
        Path(written).unlink(missing_ok=True)
        raise


def publish(written: Path, path: Path) -> None:
    """Moves a temporary file beside `path` to its place, once the disk has all of it: a crash leaves old or new.

    Temporary files are made for their owner alone; whoever may read the folder may then read the file too.
    """
    with written.open("rb") as file:
        os.fsync(file.fileno())
    written.chmod(0o600 | path.parent.stat().st_mode & 0o044)
    written.replace(path)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content`, atomically."""
    with atomic_file(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8, atomically."""
    write_bytes(path, text.encode())
