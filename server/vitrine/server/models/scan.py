"""Lists a model repository: a folder of NAME/VERSION/model.onnx. It opens no file, and serves nothing.

A version is a positive whole number. Other folders are passed over, and so are names that are hidden or look temporary:
publish a version by writing it under such a name, and then renaming it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

ARTIFACT = "model.onnx"
"""The name of a version's file."""

TEMPORARY = (".tmp", ".part", "~")
"""The endings of names that are still being written."""

FILE_SYSTEMS_OWN = "lost+found"
"""A folder that Linux puts at the top of a volume, and that only root may read."""

VERSION = re.compile(r"[1-9][0-9]*", re.ASCII)
"""The name of a version's folder: no leading zeros, or two folders would be the same version."""

FileState: TypeAlias = tuple[int, int, int, int] | None
"""The state of a file, compared without reading it: inode, size and times; None: there is no such file."""


@dataclass(frozen=True, slots=True)
class VersionFolder:
    """A version in the repository. Two are equal when its files are unchanged."""

    number: int
    """The version."""
    artifact: Path
    """Its file."""
    files: tuple[FileState, FileState]
    """The states of its file, and of that with the weights beside it."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model in the repository."""

    versions: tuple[VersionFolder, ...]
    """Its versions, at least one unless it can't be read."""
    unreadable: str = ""
    """The reason why its folder can't be read; empty when it can."""
    misplaced: tuple[Path, ...] = ()
    """Artifacts that aren't served: in `v1` or `01`, beside the versions' folders, or of a model without a name."""


def scan(root: Path) -> dict[str, ModelFolder]:
    """Lists the models that have an artifact, by name, in the order of their names.

    Raises:
        OSError: `root` can't be read.
    """
    found = {folder.name: _scan_model(folder) for folder in sorted(root.iterdir()) if _is_published(folder)}
    return {name: model for name, model in found.items() if model.versions or model.unreadable or model.misplaced}


def _is_published(folder: Path) -> bool:
    """It is a folder whose name is neither hidden nor temporary."""
    name = folder.name
    if name == FILE_SYSTEMS_OWN or name.startswith(".") or name.endswith(TEMPORARY):
        return False
    return folder.is_dir()


def can_name_a_model(name: str) -> bool:
    """The name can stand in a request, where `@` parts it from a version, and people can read it in a log.

    So it has printable characters alone, and no space at its ends. Bytes that are no UTF-8 aren't printable in Python.
    """
    return "@" not in name and name.isprintable() and name == name.strip() != ""


def _scan_model(folder: Path) -> ModelFolder:
    try:
        paths = sorted(folder.iterdir())
        versions = tuple(_scan_version(path) for path in paths if _is_version(path))
        if not can_name_a_model(folder.name):
            return ModelFolder((), misplaced=tuple(version.artifact for version in versions if version.files[0]))
        return ModelFolder(versions, misplaced=tuple(_misplaced_in(paths)))
    except FileNotFoundError:  # it was moved away just now
        return ModelFolder(())
    except OSError as error:
        if not can_name_a_model(folder.name):
            return ModelFolder(())
        return ModelFolder((), f"its folder can't be read: {error.strerror}")


def _is_version(folder: Path) -> bool:
    return VERSION.fullmatch(folder.name) is not None and folder.is_dir()


def _misplaced_in(paths: Iterable[Path]) -> Iterator[Path]:
    """The artifacts among these paths, and in folders among them that are neither versions, hidden nor temporary."""
    for path in paths:
        artifact = path if path.name == ARTIFACT else path / ARTIFACT
        passed_over = path.name.startswith(".") or path.name.endswith(TEMPORARY)
        if artifact.is_file() and not passed_over and not _is_version(path):
            yield artifact


def _scan_version(folder: Path) -> VersionFolder:
    artifact = folder / ARTIFACT
    return VersionFolder(int(folder.name), artifact, (_state(artifact), _state(artifact.with_name(ARTIFACT + ".data"))))


def _state(file: Path) -> FileState:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
