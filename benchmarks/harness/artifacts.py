"""Artifacts of random weights: the values of weights make no difference to speed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vitrine.model import TrainingFacts
from vitrine.training import MLP, export


def export_random(path: Path, hidden: Sequence[int], novelty: bool = False) -> Path:
    """Exports an artifact named `benchmark` with these hidden layers to `path`; with a novelty threshold if asked."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 18, 18), dtype=np.uint8)
    mlp = MLP(hidden, generator=torch.Generator().manual_seed(0))
    facts, threshold = TrainingFacts("noise", 0, 0), -2.5 if novelty else None
    export(mlp, path, name="benchmark", facts=facts, pixels=pixels, novelty_threshold=threshold)
    return path
