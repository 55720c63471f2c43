"""Publishes versions into a model repository as an operator would: valid ones, and files that can't be served."""

import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from support.artifacts import export_random, random_mlp

from benchmarks.harness.artifacts import with_another_weight
from vitrine.training.network.export import compute_activations

HIDDEN = [32, 16]


@cache
def good_file(version: int) -> bytes:
    """An artifact whose random weights are seeded with its version."""
    with TemporaryDirectory() as folder:
        return export_random(Path(folder) / "trained.onnx", HIDDEN, seed=version).read_bytes()


@cache
def bad_files() -> Mapping[str, bytes]:
    """Files that can't be served, by their fault."""
    good = good_file(1)
    return {
        "corrupt": bytes(reversed(good)),
        "truncated": good[: len(good) // 2],
        "empty": b"",
        "golden-mismatched": with_another_weight(good),
    }


def publish(root: Path, name: str, version: int, file: bytes | None = None) -> Path:
    """Adds a version to the repository by a rename; gives its folder. Without `file`, the version is valid."""
    scratch = root / name / f".{version}.tmp"
    scratch.mkdir(parents=True)
    (scratch / "model.onnx").write_bytes(good_file(version) if file is None else file)
    return scratch.rename(root / name / str(version))


def withdraw(root: Path, name: str, version: int) -> None:
    """Removes a version from the repository by a rename."""
    gone = (root / name / str(version)).rename(root / name / f".{version}.gone")
    shutil.rmtree(gone)


def probabilities_of(version: int, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """PyTorch's probabilities with the weights of `good_file(version)`: float32 (N, 10)."""
    return compute_activations(random_mlp(HIDDEN, seed=version), pixels)["softmax"]
