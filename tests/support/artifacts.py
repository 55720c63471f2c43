"""Artifacts of random weights and pixels of noise: tests of serving need no training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from vitrine.model import OutputKind, TrainingFacts
from vitrine.training.network.export import INLINE_LIMIT, export
from vitrine.training.network.mlp import MLP


def random_mlp(hidden: Sequence[int], output: OutputKind = "softmax", seed: int = 0) -> MLP:
    """An MLP of random weights, as before training."""
    return MLP(hidden, output, generator=torch.Generator().manual_seed(seed))


def export_random(
    path: Path,
    hidden: Sequence[int],
    output: OutputKind = "softmax",
    inline_limit: int = INLINE_LIMIT,
    seed: int = 0,
    novelty_threshold: float | None = None,
) -> Path:
    """Exports an MLP of random weights under the file's name; gives the file's path."""
    export(
        random_mlp(hidden, output, seed),
        path,
        name=path.stem,
        facts=TrainingFacts("noise", seed=0, epochs=0, metrics={"test_accuracy": 0.1}),
        pixels=random_pixels(64),
        inline_limit=inline_limit,
        novelty_threshold=novelty_threshold,
    )
    return path


def random_pixels(count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Pixels of noise: uint8 (count, 18, 18)."""
    return np.random.default_rng(seed).integers(0, 256, (count, 18, 18), dtype=np.uint8)
