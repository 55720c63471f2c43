"""Artifacts of random weights, whose values make no difference to speed, and an invalid one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
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


def with_another_weight(file: bytes) -> bytes:
    """The artifact with one bias changed by 0.01, so that it no longer agrees with its golden sample."""
    model = onnx.load_model_from_string(file)
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "linear_2.bias")
    values = onnx.numpy_helper.to_array(bias) + np.float32(0.01)
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    changed: bytes = model.SerializeToString()
    return changed
