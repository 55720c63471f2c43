"""`vitrine parameters`: a layer's parameters, one unit's weights as a picture, and what it calculates."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from support.serving import RunningServer

from vitrine.client import Client, UsageError
from vitrine.client.cli import main
from vitrine.client.drawing.units import draw_unit, unit_of, unit_text

Run = Callable[..., Result]


@pytest.fixture
def run(server: RunningServer) -> Run:
    """Runs `vitrine parameters` against the server."""
    return lambda *words: CliRunner().invoke(main, ["parameters", *map(str, words), "--target", server.target])


@pytest.fixture
def image(tmp_path: Path, pixels: npt.NDArray[np.uint8]) -> Path:
    path = tmp_path / "image.png"
    Image.fromarray(pixels[0]).resize((180, 180)).save(path)
    return path


def test_a_layer_is_described_in_one_line(run: Run) -> None:
    said = run("linear_1")
    assert re.fullmatch(r"linear_1: weight 32 × 324, -?\d.* to .*; bias 32, .*\n", said.output)


def test_a_units_weights_are_a_picture_of_the_pixels_shape(run: Run) -> None:
    _, *picture, legend = run("linear_1", "--unit", 3).output.splitlines()
    assert [len(line) for line in picture] == [36] * 18
    assert set("".join(picture)) <= set(" ▁▂▃▄▅▆▇█·░▒▓")
    assert "below zero" in legend


def test_what_a_unit_calculates_is_the_servers_activation(server: RunningServer, image: Path) -> None:
    with Client(server.target) as client:
        model, prediction = client.model(), client.classify(image)
        for layer in ("linear_1", "linear_2", "linear_3"):
            stored = client.parameters(layer)
            for index in (0, 9):
                unit = unit_of(stored, index, model, prediction)
                assert unit.activation == pytest.approx(prediction.activations[layer][index], abs=1e-4)
    assert "and relu" not in unit_text(unit)  # no relu reads the last layer
    assert unit_of(stored, 9, model).activation is None


def test_a_figure_shows_weights_inputs_and_their_products(server: RunningServer, image: Path, tmp_path: Path) -> None:
    with Client(server.target) as client:
        unit = unit_of(client.parameters("linear_1"), 3, client.model(), client.classify(image))
    assert unit.inputs is not None
    drawn = [axes.images[0].get_array() for axes in draw_unit(unit).axes if axes.images]
    for values, expected in zip(drawn, (unit.weights, unit.inputs, unit.weights * unit.inputs), strict=True):
        np.testing.assert_array_equal(values, expected)


def test_the_command_writes_the_figure_and_says_what_follows(run: Run, image: Path, tmp_path: Path) -> None:
    said = run("linear_1", "--unit", 3, "--image", image, "--plot", tmp_path / "unit.png")
    assert said.exit_code == 0, said.output
    assert re.search(r"weights · input \+ bias = -?\d+\.\d{3}, and relu_1 makes of it \d", said.output)
    assert (tmp_path / "unit.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("linear_1", "--unit", 32), "linear_1 has the units 0 to 31, not 32"),
        (("relu_1",), "stores no parameters"),
        (("linear_1", "--plot", "x.png"), "name it with --unit"),
        (("linear_1", "--unit", 0, "--plot", "no/such/folder.png"), "can't write the figure"),
    ],
)
def test_a_wrong_request_is_explained_in_one_sentence(run: Run, words: tuple[object, ...], sentence: str) -> None:
    said = run(*words)
    assert said.exit_code != 0
    assert sentence in said.output
    assert "Traceback" not in said.output


def test_a_unit_that_is_not_there_is_a_usage_error(server: RunningServer) -> None:
    with Client(server.target) as client, pytest.raises(UsageError):
        unit_of(client.parameters("linear_1"), -1, client.model())
