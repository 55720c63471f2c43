"""The whole path for networks of every depth: train, export, serve, classify, and recompute the activations."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from support.serving import running_server

from vitrine.client import Client, Layer, LayerKind
from vitrine.model import TOLERANCE, OutputKind
from vitrine.training import Dataset, FitConfig, Run, compute_activations, fit, load_dataset

Floats = npt.NDArray[np.float32]
HIDDEN = (64, 48, 40, 32, 24, 20)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """A part of the embedded digits: enough to learn something in a second."""
    digits = load_dataset("digits", progress=False)
    return Dataset("digits", digits.train[slice(0, 600)], digits.test[slice(0, 100)])


@pytest.mark.parametrize("depth", range(1, 7))
@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_what_is_trained_is_what_is_served(dataset: Dataset, tmp_path: Path, output: OutputKind, depth: int) -> None:
    torch.set_num_threads(1)
    config = FitConfig(hidden=HIDDEN[:depth], output=output, epochs=15, learning_rate=4e-3, device="cpu", augment=0)
    run = fit(dataset, config, tmp_path, progress=False)
    with running_server(run.folder.model) as server, Client(server.target) as client:
        assert client.model().layers == run.checkpoint.kept_mlp().layers
        digits = check_activations(client, run, dataset.test.pixels)
        assert np.mean(digits == dataset.test.labels) > 0.5  # ten classes: chance is 0.1


def check_activations(client: Client, run: Run, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Compares every served layer with PyTorch's, and with numpy's from served parameters; gives the digits."""
    expected = compute_activations(run.checkpoint.kept_mlp(), pixels)
    predictions = list(client.classify_many(pixels, activations="all", preparation="none"))
    layers = client.model().layers
    served = {x.name: np.stack([p.activations[x.name] for p in predictions]) for x in layers}
    for layer in layers:
        np.testing.assert_allclose(served[layer.name], expected[layer.name], rtol=0, atol=TOLERANCE)
        if layer.kind is not LayerKind.INPUT:
            recomputed = recompute(client, layer, served[layer.reads[0]])
            np.testing.assert_allclose(served[layer.name], recomputed, rtol=0, atol=TOLERANCE)
    digits = np.array([prediction.digit for prediction in predictions])
    np.testing.assert_array_equal(digits, expected[layers[-1].name].argmax(axis=1))
    return digits


def recompute(client: Client, layer: Layer, before: Floats) -> Floats:
    """One layer's activations from those of the layer that it reads: (N, width before) to (N, width)."""
    match layer.kind:
        case LayerKind.LINEAR:
            stored = client.parameters(layer.name)
            return before @ stored.weight.T + stored.bias
        case LayerKind.RELU:
            return np.maximum(before, 0)
        case LayerKind.SOFTMAX:
            powers = np.exp(before - before.max(axis=1, keepdims=True))
            softmax: Floats = powers / powers.sum(axis=1, keepdims=True)
            return softmax
        case _:
            sigmoid: Floats = np.reciprocal(1 + np.exp(-before))
            return sigmoid
