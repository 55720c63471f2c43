"""The same image through Vitrine's client, Triton's and KServe's: equal digits, and activations equal bit by bit."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest
from oip.conftest import EIGHT, Report
from support.serving import RunningServer

from vitrine.client import Client, Prediction

LAYERS = ("softmax", "relu_2", "input")


@pytest.fixture(scope="module")
def pixels_seen(server: RunningServer, drawings: list[npt.NDArray[np.uint8]]) -> list[Prediction]:
    """What Vitrine's client gets for the drawings."""
    with Client(server.target) as client:
        return list(client.classify_many(drawings, activations=LAYERS))


@pytest.fixture(scope="module")
def file_seen(server: RunningServer) -> list[Prediction]:
    """What Vitrine's client gets for the file."""
    with Client(server.target) as client:
        return [client.classify(EIGHT, activations=LAYERS)]


def assert_equal(found: Mapping[str, npt.NDArray[np.float32]], seen: list[Prediction]) -> None:
    assert set(found) == set(LAYERS)
    for name, values in found.items():
        assert values.tobytes() == np.stack([prediction.activations[name] for prediction in seen]).tobytes()


def test_digits_are_equal(triton: Report, kserve: Report, pixels_seen: list[Prediction]) -> None:
    digits = [prediction.digit for prediction in pixels_seen]
    assert triton.of("plain")["digit"].tolist() == digits
    assert kserve.of("plain")["digit"].tolist() == digits


def test_activations_of_pixels_are_equal_bit_by_bit(
    triton: Report, kserve: Report, pixels_seen: list[Prediction]
) -> None:
    assert_equal(triton.of("form pixels"), pixels_seen)
    assert_equal(kserve.of("pixels"), pixels_seen)


def test_activations_of_a_file_are_equal_bit_by_bit(
    triton: Report, kserve: Report, file_seen: list[Prediction]
) -> None:
    assert_equal(triton.of("form files"), file_seen)
    assert_equal(kserve.of("files"), file_seen)
