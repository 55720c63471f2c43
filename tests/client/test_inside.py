"""Interventions, explanations and their drawings in the SDK and the command, against a real server."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner
from client.conftest import Ask
from client.scripted import ScriptedServer
from support.artifacts import random_mlp
from support.networks import changed_activations
from support.serving import RunningServer

from vitrine.client import (
    AnswerError,
    AsyncClient,
    Client,
    Explanation,
    Intervention,
    InvalidRequestError,
    Prediction,
    UnsupportedError,
    UsageError,
    compare,
    scale,
    set_units,
    zero,
)
from vitrine.client.cli import main
from vitrine.client.drawing.inside import draw_parameters
from vitrine.client.drawing.plot import write_figure

TOLERANCE = 1e-4
EIGHT = Path(__file__).parents[2] / "examples" / "eight.png"
READY: dict[str, Any] = {"preparation": "none"}
Pixels = npt.NDArray[np.uint8]

CHANGES = [zero("relu_1", units=[3, 17]), scale("relu_2", 0.5), set_units("relu_1", {3: 1.2, 4: -1.0})]
AS_ARITHMETIC = [
    ("relu_1", [3, 17], 0.0, 0.0),
    ("relu_2", list(range(16)), 0.5, 0.0),
    ("relu_1", [3], 0.0, 1.2),
    ("relu_1", [4], 0.0, -1.0),
]


def check(prediction: Prediction, pixels: Pixels) -> None:
    """A prediction with `CHANGES`, and its baseline, are PyTorch's."""
    mlp = random_mlp([32, 16])
    assert prediction.baseline is not None
    for found, expected in (
        (prediction, changed_activations(mlp, pixels[None], [AS_ARITHMETIC])),
        (prediction.baseline, changed_activations(mlp, pixels[None], [[]])),
    ):
        assert list(found.activations) == list(expected)
        for name, values in found.activations.items():
            np.testing.assert_allclose(values, expected[name][0], rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(found.probabilities, expected["softmax"][0], rtol=0, atol=TOLERANCE)
        assert found.index == int(found.probabilities.argmax())
    assert prediction.baseline.baseline is None


def test_one_image_with_interventions_comes_with_its_baseline(ask: Ask, server: RunningServer, pixels: Pixels) -> None:
    check(ask(server.target, "classify", pixels[0], interventions=CHANGES, **READY), pixels[0])
    plain = ask(server.target, "classify", pixels[0], **READY)
    assert plain.baseline is None


def test_many_images_with_interventions(ask: Ask, server: RunningServer, pixels: Pixels) -> None:
    many = ask(server.target, "classify_many", pixels, interventions=CHANGES, activations="all", **READY)
    assert len(many) == len(pixels)
    for prediction, image in zip(many, pixels, strict=True):
        check(prediction, image)


def test_calls_that_travel_together_keep_their_own_interventions(server: RunningServer, pixels: Pixels) -> None:
    async def gathered() -> list[Prediction]:
        async with AsyncClient(server.target) as client:
            await client.model()
            calls = [client.classify(image, **READY) for image in pixels]
            calls += [client.classify(image, interventions=CHANGES, **READY) for image in pixels]
            return await asyncio.gather(*calls)

    answers = asyncio.run(gathered())
    for plain, changed, image in zip(answers[:16], answers[16:], pixels, strict=True):
        assert plain.baseline is None
        check(changed, image)
    with Client(server.target) as client, ThreadPoolExecutor(8) as pool:
        client.model()
        for prediction in pool.map(lambda image: client.classify(image, interventions=CHANGES, **READY), pixels):
            assert prediction.baseline is not None


def test_another_images_activations_can_be_set(server: RunningServer, pixels: Pixels) -> None:
    with Client(server.target) as client:
        other = client.classify(pixels[1], **READY)
        patched = client.classify(pixels[0], interventions=[set_units("relu_2", other.activations["relu_2"])], **READY)
    np.testing.assert_allclose(patched.probabilities, other.probabilities, rtol=0, atol=TOLERANCE)


def test_the_server_says_what_is_wrong_with_an_intervention(ask: Ask, server: RunningServer, pixels: Pixels) -> None:
    with pytest.raises(InvalidRequestError, match="no unit 32: its 32 units are 0 to 31"):
        ask(server.target, "classify", pixels[0], interventions=[zero("relu_1", 32)], **READY)
    with pytest.raises(InvalidRequestError, match="no layer reads the output layer 'softmax'"):
        ask(server.target, "classify", pixels[0], interventions=[zero("softmax")], **READY)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: zero("relu_1", units=[-1]), "units are positions from 0, not -1"),
        (lambda: zero("relu_1", units=[]), "changes nothing"),
        (lambda: zero("relu_1", units=["3"]), "units are positions from 0, not '3'"),  # type: ignore[list-item]
        (lambda: zero(3), "takes the name of a layer"),  # type: ignore[arg-type]
        (lambda: scale("relu_1", float("nan")), "finite numbers, not nan"),
        (lambda: scale("relu_1", "2"), "are numbers, not '2'"),  # type: ignore[arg-type]
        (lambda: set_units("relu_1", {}), "at least one unit"),
        (lambda: set_units("relu_1", {1: 2.0}, units=[1]), "not both"),
        (lambda: set_units("relu_1", [1.0, 2.0], units=[1, 2, 3]), "2 values came for 3 units"),
        (lambda: set_units("relu_1", ["a"]), "values of units are numbers"),
    ],
)
def test_interventions_without_sense_are_refused_when_they_are_made(make: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


def test_anything_else_among_interventions_is_refused(server: RunningServer, pixels: Pixels) -> None:
    with Client(server.target) as client:
        with pytest.raises(UsageError, match="write interventions=\\[zero"):
            client.classify(pixels[0], interventions=zero("relu_1"), **READY)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="made by zero, scale and set_units"):
            client.classify(pixels[0], interventions=["relu_1"], **READY)  # type: ignore[list-item]


def test_interventions_are_values() -> None:
    assert zero("relu_1", 3) == zero("relu_1", [3]) == scale("relu_1", 0, [np.int64(3)])
    assert len({zero("relu_1", 3), zero("relu_1", [3])}) == 1
    assert set_units("relu_1", {3: 1.2}) == Intervention("relu_1", (3,), values=(1.2,))


def test_a_server_without_interventions_is_no_silent_answer(ask: Ask, scripted: ScriptedServer, images: Pixels) -> None:
    with pytest.raises(AnswerError, match="without the interventions"):
        ask(scripted.target, "classify", images[0], interventions=[zero("relu_1")], **READY)
    with pytest.raises(UnsupportedError):
        ask(scripted.target, "explain", images[0], **READY)


@pytest.mark.parametrize("method", ["contributions", "gradient_times_input", "integrated_gradients"])
@pytest.mark.parametrize("preparation", ["local", "server"])
def test_an_explanation_adds_up(ask: Ask, server: RunningServer, method: str, preparation: str) -> None:
    explanation = ask(server.target, "explain", EIGHT, method=method, preparation=preparation)
    prediction = ask(server.target, "classify", EIGHT, preparation=preparation)
    assert isinstance(explanation, Explanation)
    assert explanation.digit == prediction.digit
    assert explanation.contributions.shape == explanation.pixels.shape == (18, 18)
    assert abs(explanation.contributions.sum() + explanation.bias - explanation.score) < TOLERANCE
    assert abs(explanation.score - prediction.activations["linear_3"].max()) < TOLERANCE
    np.testing.assert_allclose(explanation.pixels, prediction.pixels, atol=1e-6)
    assert explanation.method == method
    assert repr(explanation).startswith(f"Explanation(digit={prediction.digit}, score=")


def test_a_chosen_digit_is_explained(ask: Ask, server: RunningServer) -> None:
    prediction = ask(server.target, "classify", EIGHT)
    for digit in (3, "3"):
        explanation = ask(server.target, "explain", EIGHT, digit)
        assert (explanation.digit, explanation.label) == (3, "3")
        assert abs(explanation.score - prediction.activations["linear_3"][3]) < TOLERANCE
    with pytest.raises(UsageError, match="no class '11'; its classes: 0, 1"):
        ask(server.target, "explain", EIGHT, 11)
    with pytest.raises(UsageError, match="method is one of 'contributions'"):
        ask(server.target, "explain", EIGHT, method="magic")


def run(server: RunningServer, *arguments: str | Path) -> tuple[int, str]:
    """Exit status and output of the command."""
    result = CliRunner().invoke(main, [*map(str, arguments), "--target", server.target])
    return result.exit_code, result.output


def test_the_command_explains_an_image(server: RunningServer, tmp_path: Path) -> None:
    status, text = run(server, "explain", EIGHT, "--digit", "3", "--plot", tmp_path / "why.svg")
    assert status == 0, text
    assert "3: score" in text
    assert (tmp_path / "why.svg").stat().st_size > 1000
    status, text = run(server, "explain", EIGHT, "--json")
    document = json.loads(text)
    total = np.sum(document["contributions"]) + document["bias"]
    assert abs(total - document["score"]) < TOLERANCE
    status, text = run(server, "explain", EIGHT, "--digit", "x")
    assert (status, "no class 'x'" in text) == (1, True)


def test_the_command_compares_two_images(server: RunningServer, tmp_path: Path) -> None:
    status, text = run(server, "compare", EIGHT, EIGHT, "--plot", tmp_path / "both.png")
    assert status == 0, text
    assert "mean |difference|" in text
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")
    status, text = run(server, "compare", EIGHT, EIGHT, "--json")
    assert {row["distance"] for row in json.loads(text)["layers"]} == {0.0}


def test_results_draw_and_show_themselves(server: RunningServer, tmp_path: Path) -> None:
    with Client(server.target) as client:
        prediction = client.classify(EIGHT, interventions=[zero("relu_1", [1, 2])])
        explanation = client.explain(EIGHT)
        parameters = client.parameters("linear_1")
    results: dict[str, Any] = {"prediction": prediction, "explanation": explanation, "parameters": parameters}
    for name, result in results.items():
        result.plot(tmp_path / f"{name}.png")
        result.plot(tmp_path / f"{name}.svg", title="a $title$ of its own")
    assert prediction.baseline is not None
    compare(prediction.baseline, prediction, tmp_path / "compare.png")
    write_figure(draw_parameters(parameters, shape=(12, 27)), tmp_path / "wide.png")
    assert len(list(tmp_path.iterdir())) == 8
    with pytest.raises(UsageError, match="can't write"):
        explanation.plot(tmp_path / "missing" / "a.png")
    for shown in (prediction._repr_html_(), explanation._repr_html_()):
        assert "data:image/png;base64" in shown
        assert "<script" not in shown
