"""How activations are sampled: within a budget of time, and over a window that moves on."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest

from vitrine.model import layer_catalogue
from vitrine.server.bundled import bundled_model
from vitrine.server.engine.artifact import read_artifact
from vitrine.server.models.snapshot import ServedModel
from vitrine.server.telemetry.activation_health import HALF_WINDOW, SHARE, ActivationHealth
from vitrine.server.telemetry.run_probe import RunProbe

LAYERS = layer_catalogue([4])
METADATA = read_artifact(bundled_model()).metadata
PIXELS = np.zeros((1, 18, 18), np.uint8)


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
        if health.claim():
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


class Engine:
    """Runs that give zeros, for which all may have to meet first; all layers at once can be too much for it."""

    provider = "CPUExecutionProvider"

    def __init__(self, side_by_side: int = 1, most_layers: int = 100) -> None:
        self._meeting = threading.Barrier(side_by_side)
        self._most_layers = most_layers
        self.asked: list[int] = []
        """How many layers each run was asked for."""

    def run(self, pixels: npt.NDArray[np.uint8], layers: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        self.asked.append(len(layers))
        self._meeting.wait(60)
        if len(layers) > self._most_layers:
            raise MemoryError("too much")
        return {layer.name: np.zeros((len(pixels), layer.width), np.float32) for layer in METADATA.layers}


def watched(engine: Engine) -> tuple[RunProbe, ServedModel]:
    probe = RunProbe(lambda _: None, activations=True)
    return probe, probe.over(ServedModel("digits", "1", METADATA, {}, engine))


def test_of_runs_side_by_side_one_is_sampled() -> None:
    engine = Engine(side_by_side=8)
    _, model = watched(engine)
    with ThreadPoolExecutor(8) as threads:
        for _ in range(8):
            threads.submit(model.engine.run, PIXELS, ["softmax"])
    assert sorted(engine.asked) == [1] * 7 + [len(METADATA.layers)]


def test_a_run_that_can_not_be_sampled_is_answered_and_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine(most_layers=1)
    watch, model = watched(engine)
    with caplog.at_level(logging.ERROR):
        while engine.asked.count(len(METADATA.layers)) < 2:
            assert "softmax" in model.engine.run(PIXELS, ["softmax"])
    assert len(caplog.records) == 1
    assert watch.reading(model) is None


def test_activations_that_can_not_be_counted_harm_nobody_and_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    health = ActivationHealth(LAYERS, clock)
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            assert health.claim()
            health.take({"nobody": np.zeros((1, 1), np.float32)}, clock.now)
    assert len(caplog.records) == 1
    assert health.claim()
    health.take(activations(1, 1), clock.now)
    assert health.reading() is not None


def test_whoever_reads_does_not_wait_for_a_run_that_is_being_counted() -> None:
    health = ActivationHealth(LAYERS)
    counting, read = threading.Event(), threading.Event()

    class Slow(dict[str, npt.NDArray[np.float32]]):
        def items(self):  # type: ignore[no-untyped-def]
            counting.set()
            assert read.wait(60)
            return super().items()

    with ThreadPoolExecutor(2) as threads:
        taken = threads.submit(health.take, Slow(activations(1, 1)), 0)
        assert counting.wait(60)
        assert threads.submit(health.reading).result(60) is None
        read.set()
        taken.result(60)
    assert health.reading() is not None
