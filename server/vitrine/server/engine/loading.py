"""Loads a model: reads and checks its artifact, and opens it on a device."""

from pathlib import Path

from vitrine.model import ArtifactError
from vitrine.server.engine.artifact import read_artifact
from vitrine.server.engine.device import Device
from vitrine.server.engine.session import open_engine
from vitrine.server.errors import StartupError
from vitrine.server.models.snapshot import ServedModel

VERSION_DIGITS = 12
"""Hex digits of a file's SHA-256 that are its version: enough to tell any two models apart."""


def load_model(path: Path, device: Device) -> ServedModel:
    """Loads and checks an artifact that is served by itself: its name is the one that it gives itself.

    Raises:
        StartupError: it fails a check, or the device isn't there.
    """
    try:
        return _load(path, device)
    except ArtifactError as error:
        raise StartupError(f"{path} is not served: {error}") from error


def load_version(device: Device, path: Path, name: str, version: str) -> ServedModel:
    """Loads and checks an artifact of a repository, where the folders say its name and version.

    Raises:
        ArtifactError: it fails a check.
        StartupError: the device isn't there.
    """
    return _load(path, device, name, version)


def _load(path: Path, device: Device, name: str = "", version: str = "") -> ServedModel:
    artifact = read_artifact(path)
    engine = open_engine(artifact, device)
    return ServedModel(
        name or artifact.metadata.name,
        version or artifact.sha256[:VERSION_DIGITS],
        artifact.metadata,
        artifact.parameters,
        engine,
    )
