"""How activations are sampled: within a budget of time, and over a window that moves on."""

import numpy as np
import numpy.typing as npt
import pytest

from vitrine.model import layer_catalogue
from vitrine.server.activation_health import HALF_WINDOW, SHARE, ActivationHealth

LAYERS = layer_catalogue([4])


class Clock:
    """A clock that stands still unless it is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def activations(images: int, value: float) -> dict[str, npt.NDArray[np.float32]]:
    return {layer.name: np.full((images, layer.width), value, np.float32) for layer in LAYERS}


def test_sampled_runs_take_no_more_than_their_share_of_the_time() -> None:
    clock = Clock()
    health = ActivationHealth(LAYERS, clock)
    spent, began = 0.0, clock.now
    for run in range(10_000):
        duration = 0.002 if run % 3 else 0.005
        if health.due():
            begin = clock.now
            clock.now += duration
            health.take(activations(1, 1), begin)
            spent += duration
        else:
            clock.now += duration
    assert 0.8 * SHARE < spent / (clock.now - began) <= 1.05 * SHARE


def test_nothing_is_read_before_the_first_image() -> None:
    assert ActivationHealth(LAYERS).reading() is None


def test_what_was_long_ago_is_forgotten() -> None:
    health = ActivationHealth(LAYERS)
    health.take(activations(HALF_WINDOW, 1), 0)
    health.take(activations(HALF_WINDOW - 1, 0), 0)
    both = health.reading()
    assert both is not None
    assert both.images == 2 * HALF_WINDOW - 1
    assert both.layers["relu_1"].mean == pytest.approx(0.5, abs=1e-3)
    assert both.layers["relu_1"].dead_ratio == 0
    health.take(activations(1, 0), 0)
    late = health.reading()
    assert late is not None
    assert late.images == HALF_WINDOW
    assert (late.layers["relu_1"].mean, late.layers["relu_1"].dead_ratio) == (0, 1)
