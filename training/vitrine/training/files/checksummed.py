"""Files of tensors and plain data with a checksum at the end: damaged files are refused.

They are read with PyTorch's `weights_only`, so no code from the file is executed. This module knows neither runs nor
networks.
"""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vitrine.training.errors import CheckpointError
from vitrine.training.files.atomic import write_bytes

DIGEST_SIZE = hashlib.sha256().digest_size
"""Length of the SHA-256 at the end of the file, in bytes. PyTorch alone does not notice a flipped bit."""


def write_checksummed(path: Path, document: Mapping[str, Any]) -> None:
    """Writes tensors and plain data by name, atomically."""
    payload = io.BytesIO()  # Ctrl-C while PyTorch writes to a Python file can kill the process
    torch.save(dict(document), payload)
    content = payload.getvalue()
    write_bytes(path, content + hashlib.sha256(content).digest())


def read_checksummed(path: Path) -> dict[str, Any]:
    """Reads a file of `write_checksummed`, onto the CPU.

    Raises:
        CheckpointError: the file is missing or damaged, or holds more than tensors and plain data.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"the checkpoint {path} does not exist: fit first") from error
    payload, digest = content[:-DIGEST_SIZE], content[-DIGEST_SIZE:]
    if hashlib.sha256(payload).digest() != digest:
        raise CheckpointError(f"{path} is damaged, or is not a checkpoint of this version of Vitrine")
    try:
        document = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise nearly any exception in PyTorch
        raise CheckpointError(f"{path} is damaged, or holds more than tensors and plain data") from error
    return dict(document) if isinstance(document, dict) else {}
