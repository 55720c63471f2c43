"""Versions of a model for a repository: valid ones, and files that can't be served. It knows no server.

Version V has the weights V modulo `WEIGHTS`, so that each answer can be checked against PyTorch.
"""

import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.harness.artifacts import with_another_weight
from vitrine.model import TrainingFacts
from vitrine.training import MLP, export
from vitrine.training.network.export import compute_activations

NAME = "digits"
HIDDEN = (512, 256)
WEIGHTS = 8
"""Number of different sets of weights."""


@cache
def mlp(weights: int) -> MLP:
    """Network of a set of weights."""
    return MLP(HIDDEN, generator=torch.Generator().manual_seed(weights))


@cache
def good_file(weights: int) -> bytes:
    """Artifact of a set of weights."""
    facts = TrainingFacts("noise", seed=weights, epochs=0)
    pixels = np.random.default_rng(1).integers(0, 256, (64, 18, 18), dtype=np.uint8)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export(mlp(weights), path, name=NAME, facts=facts, pixels=pixels)
        return path.read_bytes()


def file_of(kind: str, version: int) -> bytes:
    """File of a version: `corrupt`, `truncated`, `half-written`, `golden-mismatched`, or valid for any other kind."""
    good = good_file(version % WEIGHTS)
    match kind:
        case "corrupt":
            return bytes(reversed(good))
        case "truncated" | "half-written":
            return good[: len(good) // 2]
        case "golden-mismatched":
            return with_another_weight(good)
        case _:
            return good


def expected_probabilities(weights: int, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """PyTorch's answer with a set of weights: float32 (N, 10)."""
    return compute_activations(mlp(weights), pixels)["softmax"]


def publish(root: Path, version: int, file: bytes) -> Path:
    """Adds a version to the repository by a rename; gives its folder."""
    scratch = root / NAME / f".{version}.tmp"
    scratch.mkdir(parents=True)
    (scratch / "model.onnx").write_bytes(file)
    return scratch.rename(root / NAME / str(version))


def withdraw(root: Path, version: int) -> None:
    """Removes a version from the repository by a rename, then from the disk."""
    shutil.rmtree((root / NAME / str(version)).rename(root / f".{version}"))
