"""Artifacts of random weights and pixels of noise: tests of serving need no training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from vitrine.model import DIGITS, PIXELS_SHAPE, OutputKind, Shape, TrainingFacts
from vitrine.training.network.artifact_file import INLINE_LIMIT
from vitrine.training.network.export import export
from vitrine.training.network.mlp import MLP

ARROWS = ("up", "down", "left", "right")
"""The classes of a model that knows no digits; see `support.drawings`."""

ARROWS_SHAPE = (12, 20)
"""Height and width of its pixels."""


def random_mlp(
    hidden: Sequence[int],
    output: OutputKind = "softmax",
    seed: int = 0,
    shape: Shape = PIXELS_SHAPE,
    classes: int = len(DIGITS),
) -> MLP:
    """An MLP of random weights, as before training."""
    return MLP(hidden, output, classes, torch.Generator().manual_seed(seed), shape)


def export_random(
    path: Path,
    hidden: Sequence[int],
    output: OutputKind = "softmax",
    inline_limit: int = INLINE_LIMIT,
    seed: int = 0,
    novelty_threshold: float | None = None,
    shape: Shape = PIXELS_SHAPE,
    classes: tuple[str, ...] = DIGITS,
) -> Path:
    """Exports an MLP of random weights under the file's name; gives the file's path."""
    export(
        random_mlp(hidden, output, seed, shape, len(classes)),
        path,
        name=path.stem,
        facts=TrainingFacts("noise", seed=0, epochs=0, metrics={"test_accuracy": 0.1}),
        pixels=random_pixels(64, shape=shape),
        classes=classes,
        inline_limit=inline_limit,
        novelty_threshold=novelty_threshold,
    )
    return path


def random_pixels(count: int, seed: int = 0, shape: Shape = PIXELS_SHAPE) -> npt.NDArray[np.uint8]:
    """Pixels of noise: uint8 (count, height, width)."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)
