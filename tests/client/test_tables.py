"""Many predictions as arrays and as a frame, from a real server."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from support.serving import RunningServer

from vitrine.client import AsyncClient, Client, Prediction, UsageError, stack_activations, to_frame


@pytest.fixture
def files(tmp_path: Path, pixels: npt.NDArray[np.uint8]) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, picture in zip(paths, pixels, strict=False):
        Image.fromarray(picture).save(path)
    return paths


@pytest.fixture
def predictions(server: RunningServer, files: list[Path]) -> Iterator[list[Prediction]]:
    with Client(server.target) as client:
        yield list(client.classify_many(files))


def test_a_prediction_knows_its_images_file(
    predictions: list[Prediction], files: list[Path], server: RunningServer, pixels: npt.NDArray[np.uint8]
) -> None:
    assert [each.image for each in predictions] == [str(file) for file in files]
    with Client(server.target) as client:
        assert client.classify(files[1]).image == str(files[1])
        assert client.classify(files[1], preparation="server").image == str(files[1])
        assert client.classify(files[1].read_bytes()).image == ""
        assert [each.image for each in client.classify_many([files[2], pixels[0]])] == [str(files[2]), ""]


async def test_a_prediction_of_the_async_client_knows_it_too(server: RunningServer, files: list[Path]) -> None:
    async with AsyncClient(server.target) as client:
        assert (await client.classify(str(files[0]))).image == str(files[0])
        assert [each.image async for each in client.classify_many(files)] == [str(file) for file in files]


def test_both_calls_return_all_layers_unless_told(server: RunningServer, files: list[Path]) -> None:
    with Client(server.target) as client:
        one, (first, *_) = client.classify(files[0]), client.classify_many(files)
        assert list(one.activations) == list(first.activations) != []
        assert [list(each.activations) for each in client.classify_many(files, activations=None)] == [[]] * 3


def test_layers_are_stacked_by_image(predictions: list[Prediction]) -> None:
    stacked = stack_activations(iter(predictions))
    assert {name: rows.shape for name, rows in stacked.items()} == {
        name: (3, *layer.shape) for name, layer in predictions[0].activations.layers.items()
    }
    np.testing.assert_array_equal(stacked["relu_1"][2], predictions[2].activations["relu_1"])
    assert stack_activations([]) == {}


def test_predictions_of_different_layers_are_not_stacked(server: RunningServer, files: list[Path]) -> None:
    with Client(server.target) as client:
        one, other = (client.classify(files[0], activations=layers) for layers in ("relu_1", "relu_2"))
    with pytest.raises(UsageError, match="different layers"):
        stack_activations([one, other])


def test_a_frame_has_a_row_for_each_image(predictions: list[Prediction], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=list))  # a frame is made from rows
    rows = to_frame(predictions)
    assert [row["image"] for row in rows] == [each.image for each in predictions]
    assert list(rows[0]) == [
        *("image", "label", "probability", "novelty", "is_digit", "model"),
        *(f"p({digit})" for digit in range(10)),
    ]
    assert rows[0][f"p({predictions[0].label})"] == predictions[0].probability


def test_without_pandas_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        to_frame([])


def test_notebooks_complete_the_layers(predictions: list[Prediction]) -> None:
    assert predictions[0].activations._ipython_key_completions_() == list(predictions[0].activations)
