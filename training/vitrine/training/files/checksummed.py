"""Files of tensors and plain data, sealed by a digest: what was written is read back, or refused.

They are read with PyTorch's `weights_only`, so that reading one executes nothing. It knows no run and no network.
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
"""The bytes at the file's end: the SHA-256 of all before, as PyTorch loads a flipped bit without complaint."""


def write_checksummed(path: Path, document: Mapping[str, Any]) -> None:
    """Writes tensors and plain data by name; what was there stays until all of it is written."""
    payload = io.BytesIO()  # Ctrl-C amid PyTorch's writing to a file can end the process; in memory it can't
    torch.save(dict(document), payload)
    content = payload.getvalue()
    write_bytes(path, content + hashlib.sha256(content).digest())


def read_checksummed(path: Path) -> dict[str, Any]:
    """Reads what `write_checksummed` wrote, onto the CPU.

    Raises:
        CheckpointError: it is missing, damaged, or holds more than tensors and plain data.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}: fit first") from error
    payload, digest = content[:-DIGEST_SIZE], content[-DIGEST_SIZE:]
    if hashlib.sha256(payload).digest() != digest:
        raise CheckpointError(f"{path} is damaged, or isn't a checkpoint of this Vitrine's")
    try:
        document = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # PyTorch raises nearly anything on damaged files
        raise CheckpointError(f"{path} is damaged, or holds more than tensors and plain data") from error
    return dict(document) if isinstance(document, dict) else {}
