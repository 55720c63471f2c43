"""Fixtures of many tests: a small artifact, and a real server that serves it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import settings
from support.artifacts import ARROWS, ARROWS_SHAPE, export_random, random_pixels
from support.environments import Environment
from support.serving import RunningServer, running_server

settings.register_profile("the same everywhere, whatever else the machine does", deadline=None, derandomize=True)
settings.load_profile("the same everywhere, whatever else the machine does")


@pytest.fixture(scope="session")
def tiny_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model named `tiny` with random weights: 324-32-16-10."""
    return export_random(tmp_path_factory.mktemp("tiny") / "tiny.onnx", [32, 16])


@pytest.fixture(scope="session")
def arrows_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model named `arrows` with random weights, 12 × 20 pixels and four classes: 240-24-12-4."""
    path = tmp_path_factory.mktemp("arrows") / "arrows.onnx"
    return export_random(path, [24, 12], novelty_threshold=-1.0, shape=ARROWS_SHAPE, classes=ARROWS)


@pytest.fixture(scope="session")
def server(tiny_artifact: Path) -> Iterator[RunningServer]:
    """A real server that serves the tiny artifact."""
    with running_server(tiny_artifact) as running:
        yield running


@pytest.fixture(scope="session")
def pixels() -> npt.NDArray[np.uint8]:
    """Sixteen images' pixels: uint8 (16, 18, 18)."""
    return random_pixels(16)


@pytest.fixture(scope="session")
def judging_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with a novelty threshold above which about half of all noise lies."""
    return export_random(tmp_path_factory.mktemp("judging") / "tiny.onnx", [32, 16], novelty_threshold=-2.5)


@pytest.fixture(scope="session")
def judging_server(judging_artifact: Path) -> Iterator[RunningServer]:
    """A real server that serves the model with a novelty threshold."""
    with running_server(judging_artifact) as running:
        yield running


@pytest.fixture(scope="session")
def kserve_environment() -> Environment:
    """Where KServe's client is installed."""
    environment = Environment("kserve")
    environment.make()
    return environment
