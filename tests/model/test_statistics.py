"""Activations are counted the same, however they are cut into batches."""

import numpy as np
import numpy.typing as npt
import pytest

from vitrine.model import ActivationTally, LayerKind, layer_catalogue

LAYERS = layer_catalogue([7, 5])


def activations(images: int) -> dict[str, npt.NDArray[np.float32]]:
    """Random ones, of which each relu's first two units are 0 for every image."""
    random = np.random.default_rng(images)
    made = {layer.name: random.normal(size=(images, layer.width)).astype(np.float32) for layer in LAYERS}
    for layer in LAYERS:
        if layer.kind is LayerKind.RELU:
            made[layer.name] = np.maximum(made[layer.name], 0)
            made[layer.name][:, :2] = 0
    return made


def test_only_relu_units_that_are_0_for_every_image_are_dead() -> None:
    tally = ActivationTally(LAYERS)
    tally.add(activations(100))
    dead = {name: layer.dead_ratio for name, layer in tally.statistics().layers.items()}
    assert dead.pop("relu_1") == pytest.approx(2 / 7)
    assert dead.pop("relu_2") == pytest.approx(2 / 5)
    assert set(dead.values()) == {None}


def test_batches_are_counted_as_one() -> None:
    values = activations(100)
    whole, first, second = (ActivationTally(LAYERS) for _ in range(3))
    whole.add(values)
    first.add({name: rows[:30] for name, rows in values.items()})
    second.add({name: rows[30:] for name, rows in values.items()})
    together, expected = first.merged(second).statistics(), whole.statistics()
    assert together.images == expected.images == 100
    for name, rows in values.items():
        assert expected.layers[name].mean == pytest.approx(rows.mean(), abs=1e-6)
        assert together.layers[name].mean == pytest.approx(expected.layers[name].mean)
        assert together.layers[name].dead_ratio == expected.layers[name].dead_ratio
