"""Adds a version to a model repository by a rename, so that a server that looks meanwhile sees all of it or nothing.

It knows files and folders. Whether the artifact is good is for its caller to check.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vitrine.server.errors import StartupError
from vitrine.server.models.scan import ARTIFACT, VERSION, can_name_a_model

TAKEN = (errno.ENOTEMPTY, errno.EEXIST)
"""A rename's errors where another publisher was quicker."""

PUBLIC = 0o755
"""The rights of a version's folder: a server may run as another user than its publisher."""


def publish(artifact: Path, root: Path, name: str) -> Path:
    """Copies an artifact into a repository as the model's next version; returns the version's folder.

    The weights beside it, `ARTIFACT.data`, are copied too. Two publishers at once get two versions.

    Args:
        artifact: the ONNX file.
        root: the repository; it is made if it isn't there.
        name: the model's name.

    Raises:
        StartupError: no model can have that name, or a version can't have the weights beside the file.
        OSError: a file can't be read or written.
    """
    if not can_name_a_model(name) or "/" in name or name.startswith("."):
        raise StartupError(f"no model can be called {name!r}: choose another with --name")
    weights = artifact.with_name(artifact.name + ".data")
    if weights.exists() and artifact.name != ARTIFACT:  # the ONNX file names them, so that both can't be renamed
        raise StartupError(f"{weights.name} can't be published beside a {ARTIFACT}: export the model as {ARTIFACT}")
    model = root / name
    model.mkdir(parents=True, exist_ok=True)
    with _scratch(model) as scratch:
        shutil.copyfile(artifact, scratch / ARTIFACT)
        if weights.exists():
            shutil.copyfile(weights, scratch / weights.name)
        scratch.chmod(PUBLIC)
        _flush(scratch)
        return _rename_to_next(scratch, model)


@contextmanager
def _scratch(model: Path) -> Iterator[Path]:
    """A hidden folder in the model's own, which is gone at the end unless it was renamed."""
    scratch = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=model))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Writes the files to the disk before their folder gets its name: a crash must not leave half a version."""
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _rename_to_next(scratch: Path, model: Path) -> Path:
    number = max((int(path.name) for path in model.iterdir() if VERSION.fullmatch(path.name)), default=0) + 1
    while True:
        try:
            return scratch.rename(model / str(number))
        except OSError as error:
            if error.errno not in TAKEN:
                raise
        number += 1
