"""A model that knows no digits, from a folder of drawings to served activations beside the digits in one server."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from support.artifacts import ARROWS_SHAPE
from support.drawings import draw_arrows
from support.serving import RunningServer, running_server

from vitrine.model import prepare
from vitrine.server.bundled import bundled_model
from vitrine.training import Checkpoint, RunFolder, compute_activations
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1 import classifier_pb2_grpc as pb_grpc

TRAIN = Path(sys.executable).with_name("vitrine-train")
CLASSES = ("down", "left", "right", "up")  # in the order of the alphabet


def vitrine_train(*words: str | Path) -> str:
    """Runs the real command; gives what it prints."""
    done = subprocess.run([TRAIN, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run on drawn arrows, with the settings of a small network."""
    folder = tmp_path_factory.mktemp("arrows")
    drawings, run = draw_arrows(folder / "arrows"), folder / "run"
    settings = ("--hidden", "32,16", "--epochs", "12", "--batch-size", "16", "--device", "cpu", "--quiet")
    vitrine_train("fit", "--dataset", drawings, "--size", "12x20", "--run", run, *settings)
    return RunFolder(run)


@pytest.fixture(scope="module")
def server(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for both models; the digits answer requests that name none."""
    repository = tmp_path_factory.mktemp("models")
    for name, model in (("arrows", run.model), ("digits", bundled_model())):
        (repository / name / "1").mkdir(parents=True)
        shutil.copy(model, repository / name / "1" / "model.onnx")
    with running_server("--model-repository", repository, "--default-model", "digits") as running:
        yield running


@pytest.fixture(scope="module")
def stub(server: RunningServer) -> Iterator[pb_grpc.ClassifierServiceStub]:
    with grpc.insecure_channel(server.target) as channel:
        yield pb_grpc.ClassifierServiceStub(channel)


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, str]:
    """New drawings with their labels."""
    folder = draw_arrows(tmp_path_factory.mktemp("new") / "arrows", count=10, seed=7)
    return {path: path.parent.name for path in sorted(folder.glob("*/*.png"))}


def pixels_of(drawings: dict[Path, str]) -> np.typing.NDArray[np.uint8]:
    return np.stack([prepare(path, shape=ARROWS_SHAPE) for path in drawings])


def test_the_run_knows_its_classes_and_its_size(run: RunFolder) -> None:
    checkpoint = Checkpoint.load(run.checkpoint)
    assert (checkpoint.identity.classes, checkpoint.identity.shape) == (CLASSES, ARROWS_SHAPE)
    assert checkpoint.config.counter_examples == 0
    card = run.model_card.read_text()
    assert "tells 4 classes (down, left, right, up) apart on 12 × 20 pixels" in card
    assert "--size 12x20" in card
    assert "digit" not in card.replace("--counter-examples", "")


def test_the_report_has_its_classes(run: RunFolder) -> None:
    report = json.loads(vitrine_train("evaluate", run.path, "--json", "--quiet"))
    assert list(report["classes"]) == list(CLASSES)
    assert report["accuracy"] > 0.8
    assert vitrine_train("evaluate", run.path, "--quiet").splitlines()[0].split()[:2] == ["class", "images"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["evaluate", "--novelty"],
            "novelty, stress and forms need a model of the ten digits, but the run has the classes down, left, ",
        ),
        (["evaluate", "--dataset", "digits"], "digits has the class '0'; the model has down, left, right, up"),
        (["fit", "--resume", "--size", "18x18", "--run"], "the run was started with size 12x20, not 18x18"),
    ],
)
def test_what_does_not_fit_the_run_is_refused_in_one_sentence(run: RunFolder, words: list[str], says: str) -> None:
    done = subprocess.run([TRAIN, *words, run.path, "--quiet"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {says}")
    assert done.stderr.count("\n") == 1


def test_both_models_describe_themselves(stub: pb_grpc.ClassifierServiceStub) -> None:
    arrows = stub.GetModel(pb.GetModelRequest(model="arrows")).model
    assert list(arrows.classes) == list(CLASSES)
    assert (list(arrows.input.shape), list(arrows.pixels_shape)) == ([12, 20], [12, 20])
    assert [list(layer.shape) for layer in arrows.layers] == [[240], [32], [32], [16], [16], [4], [4]]
    digits = stub.GetModel(pb.GetModelRequest()).model
    assert digits.identity.name == "digits"
    assert (list(digits.input.shape), len(digits.classes)) == ([18, 18], 10)


def test_activations_of_pixels_are_those_of_training(
    stub: pb_grpc.ClassifierServiceStub, run: RunFolder, drawings: dict[Path, str]
) -> None:
    pixels = pixels_of(drawings)
    request = pb.ClassifyRequest(
        model="arrows",
        pixels=pb.Tensor(shape=pixels.shape, dtype=pb.DATA_TYPE_UINT8, data=pixels.tobytes()),
        activations=pb.LayerSelection(all=True),
    )
    response = stub.Classify(request)
    expected = compute_activations(Checkpoint.load(run.checkpoint).kept_mlp(), pixels)
    assert [tensor.name for tensor in response.activations] == list(expected)
    for tensor in response.activations:
        served = np.frombuffer(tensor.data, "<f4").reshape(tensor.shape)
        np.testing.assert_allclose(served, expected[tensor.name], rtol=0, atol=1e-4)
    found = [CLASSES[index] for index in response.digits]
    assert np.mean([label == known for label, known in zip(found, drawings.values(), strict=True)]) > 0.8


def test_image_files_are_prepared_in_the_models_own_shape(
    stub: pb_grpc.ClassifierServiceStub, drawings: dict[Path, str]
) -> None:
    pixels = pixels_of(drawings)
    files = pb.EncodedImages(files=[path.read_bytes() for path in drawings])
    from_files = stub.Classify(pb.ClassifyRequest(model="arrows", encoded=files))
    tensor = pb.Tensor(shape=pixels.shape, dtype=pb.DATA_TYPE_UINT8, data=pixels.tobytes())
    assert from_files.probabilities == stub.Classify(pb.ClassifyRequest(model="arrows", pixels=tensor)).probabilities
    digits = stub.Classify(pb.ClassifyRequest(encoded=files))
    assert list(digits.probabilities.shape) == [len(drawings), 10]


@pytest.mark.parametrize(("model", "shape"), [("arrows", (1, 18, 18)), ("arrows", (1, 20, 12)), ("", (1, 12, 20))])
def test_pixels_of_another_models_shape_are_refused(
    stub: pb_grpc.ClassifierServiceStub, model: str, shape: tuple[int, ...]
) -> None:
    tensor = pb.Tensor(shape=shape, dtype=pb.DATA_TYPE_UINT8, data=bytes(int(np.prod(shape))))
    with pytest.raises(grpc.RpcError) as caught:
        stub.Classify(pb.ClassifyRequest(model=model, pixels=tensor))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
