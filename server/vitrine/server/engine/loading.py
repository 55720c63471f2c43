"""Loads a model: reads and checks its artifact, and opens it on a device."""

from pathlib import Path

from vitrine.server.engine.artifact import read_artifact
from vitrine.server.engine.device import Device
from vitrine.server.engine.intervened import IntervenedEngine
from vitrine.server.engine.session import open_engine
from vitrine.server.models.snapshot import ServedModel

DIGEST_DIGITS = 12
"""Hex digits of a file's SHA-256: enough to tell any two models apart."""


def load_artifact(path: Path, device: Device, name: str = "", version: str = "", register: str = "") -> ServedModel:
    """Loads and checks an artifact.

    Args:
        path: the ONNX file.
        device: the device that runs it.
        name: the model's name; empty takes the name in its metadata.
        version: its version; empty takes the beginning of the file's SHA-256.
        register: the register of processes that share weights (`weights_register`); empty: none do.

    Raises:
        ArtifactError: it fails a check.
        StartupError: the device isn't there.
    """
    artifact = read_artifact(path, register)
    digest = artifact.sha256[:DIGEST_DIGITS]
    engine = open_engine(artifact, device)
    return ServedModel(
        name or artifact.metadata.name,
        version or digest,
        artifact.metadata,
        artifact.parameters,
        engine,
        digest,
        intervened=IntervenedEngine(artifact.metadata, artifact.parameters, engine.provider),
    )
