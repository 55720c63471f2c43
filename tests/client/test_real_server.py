"""The client against the real server: the whole wire, and activations that follow from the parameters."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from client.conftest import Ask
from PIL import Image
from support.artifacts import random_pixels
from support.serving import RunningServer, running_server

from vitrine.client import Client, InvalidRequestError, LayerKind, NotFoundError, Prediction
from vitrine.model import prepare

TOLERANCE = 1e-4


def recompute(client: Client, prediction: Prediction) -> dict[str, npt.NDArray[np.float32]]:
    """Every layer's activations from the input's, by numpy and the parameters alone."""
    computed = {"input": prediction.activations["input"]}
    for layer in client.model().layers[1:]:
        before = computed[layer.reads[0]]
        match layer.kind:
            case LayerKind.LINEAR:
                parameters = client.parameters(layer.name)
                computed[layer.name] = parameters.weight @ before + parameters.bias
            case LayerKind.RELU:
                computed[layer.name] = np.maximum(before, 0)
            case _:
                computed[layer.name] = np.exp(before - before.max()) / np.exp(before - before.max()).sum()
    return computed


def test_activations_follow_from_the_parameters(server: RunningServer, pixels: npt.NDArray[np.uint8]) -> None:
    with Client(server.target) as client:
        for prediction in client.classify_many(pixels, activations="all", preparation="none"):
            computed = recompute(client, prediction)
            assert list(computed) == list(prediction.activations)
            for name, values in computed.items():
                np.testing.assert_allclose(prediction.activations[name], values, atol=TOLERANCE)
            np.testing.assert_array_equal(prediction.probabilities, prediction.activations["softmax"])


def test_many_images_get_what_each_gets_alone(ask: Ask, server: RunningServer, pixels: npt.NDArray[np.uint8]) -> None:
    together = ask(server.target, "classify_many", np.tile(pixels, (200, 1, 1)), preparation="none")
    alone = [ask(server.target, "classify", image, preparation="none") for image in pixels]
    assert len(together) == 200 * len(pixels)
    for number, prediction in enumerate(together):
        single = alone[number % len(pixels)]
        np.testing.assert_allclose(prediction.probabilities, single.probabilities, atol=TOLERANCE)


def test_both_preparations_give_the_same_pixels(ask: Ask, server: RunningServer, tmp_path: Path) -> None:
    paper = np.full((90, 60), 240, np.uint8)
    paper[20:70, 25:33] = 30
    path = tmp_path / "bar.png"
    Image.fromarray(paper).save(path)
    for preparation in ("local", "server"):
        prediction = ask(server.target, "classify", path, preparation=preparation, activations=["input"])
        np.testing.assert_allclose(prediction.activations["input"], prepare(path).ravel() / 255, atol=1e-6)


def test_an_unknown_layer_names_the_field_and_the_layers_there_are(ask: Ask, server: RunningServer) -> None:
    image = np.zeros((18, 18), np.uint8)
    with pytest.raises(InvalidRequestError, match="linear_1") as raised:
        ask(server.target, "classify", image, activations=["input", "relu_9"])
    assert raised.value.field == "activations.names[1]"
    assert raised.value.reason.isupper()


def test_an_unknown_model_isnt_found(ask: Ask, server: RunningServer) -> None:
    with pytest.raises(NotFoundError, match="tiny"):
        ask(server.target, "model", "eight")
    with pytest.raises(NotFoundError, match="tiny"):
        ask(server.target, "classify_many", ["never-read.png"], model="eight")


def test_the_model_is_in_the_list(ask: Ask, server: RunningServer) -> None:
    model, (summary,) = ask(server.target, "model"), ask(server.target, "models")
    assert (summary.name, summary.version, summary.default) == ("tiny", model.version, True)
    assert [layer.width for layer in model.layers if layer.kind is LayerKind.LINEAR] == [32, 16, 10]


def test_the_installed_command_asks_for_health(server: RunningServer) -> None:
    command = Path(sys.executable).with_name("vitrine")
    finished = subprocess.run([command, "health", "--target", server.target], capture_output=True, text=True)
    assert (finished.returncode, finished.stdout) == (0, f"{server.target} is SERVING\n")


def test_requests_are_cut_so_that_the_server_sends_every_answer(tiny_artifact: Path) -> None:
    """Client and server reckon an answer's size alike: what the one lets through, the other must not refuse."""
    images = random_pixels(1500)
    with running_server(tiny_artifact, "--max-message-mb", "1") as small, Client(small.target) as client:
        predictions = list(client.classify_many(images, activations="all", preparation="none"))
    assert len(predictions) == 1500
