"""A model of 12 × 20 pixels and four directions beside the digits, in one server: through the SDK and the command."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner
from client.conftest import Ask
from PIL import Image
from support.artifacts import ARROWS, ARROWS_SHAPE, export_random, random_pixels
from support.drawings import draw_arrows
from support.serving import PATIENCE_SECONDS, RunningServer, running_server

from vitrine.client import Client, InvalidRequestError, VitrineError, plot_prediction
from vitrine.client.cli import main
from vitrine.model import prepare
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of `digits`, the default, and `arrows`."""
    root = tmp_path_factory.mktemp("both")
    for name in ("digits", "arrows"):
        (root / name / "1").mkdir(parents=True)
    export_random(root / "digits" / "1" / "model.onnx", [32, 16])
    export_random(
        root / "arrows" / "1" / "model.onnx", [24], novelty_threshold=-1.4, shape=ARROWS_SHAPE, classes=ARROWS
    )
    with running_server("--model-repository", root, "--default-model", "digits") as server:
        yield server


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawing of an arrow."""
    return draw_arrows(tmp_path_factory.mktemp("drawings"), count=1) / "left" / "0.png"


def test_each_model_says_its_own_input_and_classes(ask: Ask, both: RunningServer) -> None:
    digits, arrows = ask(both.target, "model"), ask(both.target, "model", "arrows")
    assert (digits.input.shape, digits.classes) == ((18, 18), tuple("0123456789"))
    assert (arrows.input.shape, arrows.classes) == (ARROWS_SHAPE, ARROWS)
    assert (arrows.input.name, arrows.input.dtype, arrows.input.preparation) == ("pixels", "uint8", "ink")
    assert [layer.shape for layer in arrows.layers] == [(240,), (24,), (24,), (4,), (4,)]
    assert [layer.reads for layer in arrows.layers[:2]] == [(), ("input",)]


@pytest.mark.parametrize("preparation", ["local", "server"])
def test_one_image_goes_to_either_model(ask: Ask, both: RunningServer, drawing: Path, preparation: str) -> None:
    arrow = ask(both.target, "classify", drawing, model="arrows", preparation=preparation)
    digit = ask(both.target, "classify", drawing, preparation=preparation)
    np.testing.assert_allclose(arrow.pixels, prepare(drawing, shape=ARROWS_SHAPE) / 255, atol=1e-6)
    np.testing.assert_allclose(digit.pixels, prepare(drawing) / 255, atol=1e-6)
    assert arrow.label == ARROWS[int(arrow.probabilities.argmax())]
    assert isinstance(arrow.is_digit, bool)
    assert digit.label == str(digit.digit)
    with pytest.raises(VitrineError, match=r"use \.label"):
        _ = arrow.digit


def test_one_client_classifies_many_with_both_in_turns(both: RunningServer) -> None:
    arrows, digits = random_pixels(40, shape=ARROWS_SHAPE), random_pixels(40)
    with Client(both.target) as client:
        for _ in range(2):
            labels = [p.label for p in client.classify_many(arrows, model="arrows", preparation="none")]
            assert len(labels) == 40
            assert set(labels) <= set(ARROWS)
            assert {p.digit for p in client.classify_many(digits, preparation="none")} <= set(range(10))


def test_labels_of_a_version_whose_file_is_replaced_are_the_new_files(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "turns" / "1"
    folder.mkdir(parents=True)
    export_random(folder / "model.onnx", [24], shape=ARROWS_SHAPE, classes=ARROWS)
    export_random(tmp_path / "model.onnx", [24], shape=ARROWS_SHAPE, classes=("up2", "down2", "left2", "right2"))
    (arrow,) = random_pixels(1, shape=ARROWS_SHAPE)
    with (
        running_server("--model-repository", folder.parents[1], "--reload-seconds", "0.1") as server,
        Client(server.target) as client,
    ):
        before = client.classify(arrow, preparation="none")
        (tmp_path / "model.onnx").rename(folder / "model.onnx")
        end = time.monotonic() + PATIENCE_SECONDS
        while (now := client.classify(arrow, preparation="none")).label == before.label:
            assert time.monotonic() < end
        assert (now.label, now.model) == (f"{before.label}2", before.model)


def pixels_of(count: int, shape: tuple[int, int]) -> pb.Tensor:
    return pb.Tensor(shape=(count, *shape), dtype=pb.DATA_TYPE_UINT8, data=bytes(count * shape[0] * shape[1]))


def test_a_stream_may_ask_both_models_in_turns(both: RunningServer) -> None:
    import grpc

    asked = [("arrows", ARROWS_SHAPE), ("digits", (18, 18)), ("arrows", ARROWS_SHAPE)]
    requests = (
        pb.ClassifyStreamRequest(request=pb.ClassifyRequest(model=name, pixels=pixels_of(2, shape)))
        for name, shape in asked
    )
    with grpc.insecure_channel(both.target) as channel:
        answers = [answer.response for answer in ClassifierServiceStub(channel).ClassifyStream(requests)]
    assert [answer.model.name for answer in answers] == [name for name, _ in asked]
    assert [list(answer.probabilities.shape) for answer in answers] == [[2, 4], [2, 10], [2, 4]]


def test_pixels_of_the_other_models_shape_are_refused_with_the_right_one(both: RunningServer) -> None:
    with Client(both.target) as client:
        for name, shape, right in (("arrows", (18, 18), "12, 20"), ("digits", ARROWS_SHAPE, "18, 18")):
            request = pb.ClassifyRequest(model=name, pixels=pixels_of(1, shape))
            deadline = client._deadline(None)
            with pytest.raises(InvalidRequestError, match=rf"pixels are \[N, {right}\], not \[1, ") as raised:
                client._call(client._stub.Classify, request, deadline)
            assert (raised.value.reason, raised.value.field) == ("WRONG_SHAPE", "pixels.shape")


def run(both: RunningServer, *arguments: str | Path) -> str:
    result = CliRunner(env={"VITRINE_TARGET": both.target}).invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_prints_labels_and_the_whole_picture(both: RunningServer, drawing: Path) -> None:
    line = run(both, "classify", drawing, "--model", "arrows").strip()
    label = line.removeprefix(f"{drawing}  ").split()[0].rstrip("?")
    assert label in ARROWS
    assert ("none of the classes" in line) == ("?" in line)
    lines = run(both, "classify", drawing, "--model", "arrows", "--activations").splitlines()
    assert [len(line) for line in lines[1:7]] == [20] * 6
    (entry,) = json.loads(run(both, "classify", drawing, "--model", "arrows", "--json"))["predictions"]
    assert (entry["label"], entry["digit"], len(entry["probabilities"])) == (label, None, 4)
    (entry,) = json.loads(run(both, "classify", drawing, "--json"))["predictions"]
    assert entry["label"] == str(entry["digit"])


def test_the_command_shows_input_and_classes(both: RunningServer) -> None:
    shown = run(both, "inspect", "--model", "arrows")
    assert "input     pixels, uint8 12 × 20, prepared as ink\n" in shown
    assert "classes   up, down, left, right\n" in shown
    assert "novelty   above -1.40 an image is none of the classes\n" in shown
    assert "classes   0 1 2 3 4 5 6 7 8 9\n" in run(both, "inspect")


def test_a_figure_shows_the_picture_and_the_labels(both: RunningServer, drawing: Path, tmp_path: Path) -> None:
    with Client(both.target) as client:
        plot_prediction(client.classify(drawing, model="arrows"), tmp_path / "arrow.svg")
    figure = (tmp_path / "arrow.svg").read_text()
    assert all(f"<!-- {label} -->" in figure for label in ARROWS)
    assert "<!-- 12 × 20 pixels" in figure
    with Image.open(drawing) as image:
        assert image.size == (96, 64)
