"""Atomic writes: after a crash, a file has its complete old or its complete new content. It knows no file format."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a temporary binary file that replaces `path` at the end of the block, or is deleted on an error."""
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
    """Moves a temporary file in the same folder to `path` after flushing it to disk, so that a crash loses neither.

    Temporary files are readable by their owner only. The published file gets the read permissions of its folder.
    """
    with written.open("rb") as file:
        os.fsync(file.fileno())
    written.chmod(0o600 | path.parent.stat().st_mode & 0o044)
    written.replace(path)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` atomically."""
    with atomic_file(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8, atomically."""
    write_bytes(path, text.encode())
