"""One image: what is sent of it, and what comes back."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from client.conftest import Ask
from client.scripted import IDENTITY, LAYERS, ScriptedServer, floats
from PIL import Image

from vitrine.client import (
    AnswerError,
    AsyncClient,
    Client,
    ImageError,
    LayerKind,
    Limits,
    Model,
    ModelIdentity,
    ModelInput,
    Prediction,
    TrainingFacts,
    UsageError,
    wire,
)
from vitrine.client.catalogue import Description
from vitrine.model import prepare
from vitrine.v1 import classifier_pb2 as pb

SEVEN = np.full((18, 18), 7, np.uint8)


@pytest.fixture
def drawing(tmp_path: Path) -> Path:
    """A PNG file: a dark bar on light paper."""
    paper = np.full((60, 40), 250, np.uint8)
    paper[10:50, 15:22] = 20
    path = tmp_path / "bar.png"
    Image.fromarray(paper).save(path)
    return path


def test_an_image_is_prepared_here_and_324_bytes_are_sent(ask: Ask, scripted: ScriptedServer, drawing: Path) -> None:
    ask(scripted.target, "classify", drawing)
    sent = scripted.classified[0].pixels
    assert sent.data == prepare(drawing).tobytes()
    assert len(sent.data) == 324
    assert (list(sent.shape), sent.dtype) == ([1, 18, 18], pb.DATA_TYPE_UINT8)


@pytest.mark.parametrize(("size", "kind"), [((40, 60), "JPEG"), ((1, 60), "PNG")])
def test_a_file_is_read_once(
    size: tuple[int, int], kind: str, ask: Ask, scripted: ScriptedServer, tmp_path: Path
) -> None:
    """The grey of a dark photo or of a narrow strip, read again, would pass for a mask or a flat array."""
    dark = Image.new("L", size, 12)
    dark.paste(0, (0, 20, size[0] // 2 + 1, 40))
    dark.save(tmp_path / "dark", kind)
    ask(scripted.target, "classify", tmp_path / "dark")
    assert scripted.classified[0].pixels.data == prepare(tmp_path / "dark").tobytes()


def test_every_kind_of_image_source_is_taken(ask: Ask, scripted: ScriptedServer, drawing: Path) -> None:
    picture = Image.open(drawing)
    grey = np.asarray(picture)
    sources: list[Any] = [drawing, str(drawing), drawing.read_bytes(), picture, grey, grey.astype(np.int64)]
    with drawing.open("rb") as file:
        sources += [BytesIO(drawing.read_bytes()), file]
        for source in sources:
            ask(scripted.target, "classify", source)
    assert len(scripted.classified) == len(sources)
    assert len({request.pixels.data for request in scripted.classified}) == 1


@pytest.mark.parametrize("form", ["path", "text", "bytes", "buffer", "file"])
def test_the_server_gets_the_file_when_it_prepares(
    form: str, ask: Ask, scripted: ScriptedServer, drawing: Path
) -> None:
    data = drawing.read_bytes()
    with drawing.open("rb") as file:
        source = {"path": drawing, "text": str(drawing), "bytes": data, "buffer": BytesIO(data), "file": file}[form]
        ask(scripted.target, "classify", source, preparation="server")
    assert list(scripted.classified[0].encoded.files) == [data]


def test_the_limit_of_pixels_can_be_set(ask: Ask, scripted: ScriptedServer, drawing: Path) -> None:
    for method, images in (("classify", drawing), ("classify_many", [drawing])):
        with pytest.raises(ImageError, match="40 × 60; at most 2,399 pixels are decoded") as raised:
            ask(scripted.target, method, images, options={"max_image_pixels": 2399})
        assert raised.value.reason == "IMAGE_TOO_LARGE"
    assert scripted.classified == []
    ask(scripted.target, "classify", drawing, options={"max_image_pixels": 2400})


def test_pixels_are_sent_as_they_are(ask: Ask, scripted: ScriptedServer) -> None:
    assert ask(scripted.target, "classify", SEVEN, preparation="none").digit == 7
    assert scripted.classified[0].pixels.data == SEVEN.tobytes()


BAD_IMAGES: list[tuple[Any, str, str, str]] = [
    ("no/such.png", "local", "IMAGE_NOT_FOUND", "no/such.png"),
    ("no/such.png", "server", "IMAGE_NOT_FOUND", "no/such.png: No such file"),
    (b"no image", "local", "IMAGE_UNREADABLE", "can't be read"),
    (SEVEN, "server", "IMAGE_UNSUPPORTED", "takes a path, an open binary file or the bytes of a file, not ndarray"),
    (SEVEN.astype(np.float32), "none", "IMAGE_UNSUPPORTED", "not float32"),
    ("eight.png", "none", "IMAGE_UNSUPPORTED", "not str"),
    (7, "server", "IMAGE_UNSUPPORTED", "takes a path, an open binary file or the bytes of a file, not int"),
    (StringIO("text"), "server", "IMAGE_UNSUPPORTED", "gives str when read, not bytes"),
    (SEVEN.reshape(1, -1), "local", "IMAGE_UNSUPPORTED", r"it is flat; .* array.reshape\(18, 18\)"),
]


@pytest.mark.parametrize(("image", "preparation", "reason", "message"), BAD_IMAGES)
def test_an_image_that_cant_be_read_is_an_error_and_nothing_is_sent(
    image: Any, preparation: str, reason: str, message: str, ask: Ask, scripted: ScriptedServer
) -> None:
    with pytest.raises(ImageError, match=message) as raised:
        ask(scripted.target, "classify", image, preparation=preparation)
    assert raised.value.reason == reason
    assert scripted.requests == []


def test_pixels_of_another_shape_than_the_models_are_an_error_and_arent_sent(
    ask: Ask, scripted: ScriptedServer
) -> None:
    with pytest.raises(ImageError, match=r"a uint8 array \(18, 18\), .* not uint8 \(28, 28\)") as raised:
        ask(scripted.target, "classify", np.zeros((28, 28), np.uint8), preparation="none")
    assert raised.value.reason == "IMAGE_UNSUPPORTED"
    assert scripted.classified == []


def test_an_unknown_preparation_is_refused(ask: Ask, scripted: ScriptedServer) -> None:
    with pytest.raises(UsageError, match="'remote'"):
        ask(scripted.target, "classify", SEVEN, preparation="remote")


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        ("all", [layer.name for layer in LAYERS]),
        ("relu_1", ["relu_1"]),
        (["relu_1", "input"], ["input", "relu_1"]),
        ((name for name in ["linear_2"]), ["linear_2"]),
        ([], []),
        (None, []),
    ],
)
def test_activations_come_as_asked_in_the_order_of_the_layers(
    wanted: Any, got: list[str], scripted: ScriptedServer
) -> None:
    with Client(scripted.target) as client:
        prediction = client.classify(SEVEN, activations=wanted, preparation="none")
    assert list(prediction.activations) == got
    width_of = {layer.name: layer.width for layer in LAYERS}
    for name, values in prediction.activations.items():
        assert values.shape == (width_of[name],)
        assert values.dtype == np.float32


@pytest.mark.parametrize("wanted", [True, False, 3, [True], ["relu_1", None], b"relu_1"])
@pytest.mark.parametrize("method", ["classify", "classify_many"])
def test_activations_that_are_no_names_of_layers_are_refused(
    method: str, wanted: Any, ask: Ask, scripted: ScriptedServer
) -> None:
    images = SEVEN if method == "classify" else SEVEN[None]
    with pytest.raises(UsageError, match=r'^activations are "all", the name of a layer, several names, or None, not '):
        ask(scripted.target, method, images, activations=wanted, preparation="none")
    assert scripted.classified == []


def test_one_image_brings_all_activations_by_default(ask: Ask, scripted: ScriptedServer) -> None:
    assert len(ask(scripted.target, "classify", SEVEN).activations) == len(LAYERS)


def test_the_model_is_passed_on(ask: Ask, scripted: ScriptedServer) -> None:
    ask(scripted.target, "classify", SEVEN, model="other")
    ask(scripted.target, "model", "other")
    ask(scripted.target, "parameters", "linear_1", "other")
    assert [request.model for request in scripted.requests] == ["other"] * 4  # the first asks for the description


@pytest.fixture
def prediction(scripted: ScriptedServer) -> Prediction:
    with Client(scripted.target) as client:
        return client.classify(SEVEN, preparation="none")


def test_a_prediction_says_what_it_is(prediction: Prediction) -> None:
    assert prediction.digit == 7
    assert prediction.probability == 1.0
    assert prediction.probabilities.tolist() == [0] * 7 + [1, 0, 0]
    assert prediction.model == ModelIdentity("scripted", "1", "CPUExecutionProvider")
    assert repr(prediction) == (
        "Prediction(digit=7, probability=1.0000, activations=Activations(input: 324, linear_1: 8, relu_1: 8, "
        "linear_2: 10, softmax: 10), model='scripted')"
    )


def test_an_older_server_that_says_nothing_of_novelty_is_understood(ask: Ask, scripted: ScriptedServer) -> None:
    prediction = ask(scripted.target, "classify", SEVEN, preparation="none")
    assert (prediction.digit, prediction.novelty, prediction.is_digit) == (7, None, None)
    assert ask(scripted.target, "model").novelty_threshold is None


@pytest.mark.parametrize(("threshold", "is_digit"), [(7.0, True), (6.5, False), (0.0, False)])
def test_a_prediction_says_whether_it_is_of_a_digit(
    threshold: float, is_digit: bool, ask: Ask, scripted: ScriptedServer
) -> None:
    scripted.threshold = threshold
    prediction = ask(scripted.target, "classify", SEVEN, preparation="none")
    assert (prediction.digit, prediction.novelty, prediction.is_digit) == (7, 7.0, is_digit)
    assert f"probability=1.0000, is_digit={is_digit}, novelty=7.0000, activations=" in repr(prediction)
    assert ask(scripted.target, "model").novelty_threshold == threshold


def test_a_prediction_cant_be_changed(prediction: Prediction) -> None:
    with pytest.raises(FrozenInstanceError):
        prediction.index = 8  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        prediction.digit = 8  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        prediction.activations["relu_1"][0] = 1
    with pytest.raises(TypeError):
        prediction.activations["relu_1"] = prediction.probabilities  # type: ignore[index]


def test_a_missing_layer_says_which_are_there(prediction: Prediction) -> None:
    assert "relu_9" not in prediction.activations
    with pytest.raises(KeyError, match="only of: input, linear_1"):
        prediction.activations["relu_9"]


def test_a_prediction_survives_pickling(prediction: Prediction) -> None:
    copy = pickle.loads(pickle.dumps(prediction))
    assert copy.digit == 7
    np.testing.assert_array_equal(copy.activations["input"], prediction.activations["input"])


TWO_CLASSES = Description(
    Model(
        "scripted", "1", "CPU", (), ("no", "yes"), Limits(1, 1, 1), TrainingFacts("noise", 0, 0),
        ModelInput("pixels", "uint8", (2, 2), "ink"),
    ),
    {},
)  # fmt: skip


def test_rows_of_a_batch_are_views_of_one_array() -> None:
    values = floats("relu_1", np.arange(6).reshape(2, 3))
    response = pb.ClassifyResponse(
        model=IDENTITY, digits=[0, 1], probabilities=floats("softmax", np.eye(2)), activations=[values]
    )
    first, second = wire.read_predictions(response, 2, TWO_CLASSES)
    assert first.activations["relu_1"].base is second.activations["relu_1"].base
    assert second.activations["relu_1"].tolist() == [3, 4, 5]


TENSOR = floats("softmax", np.eye(10)[:1])
WRONG_ANSWERS = [
    (pb.ClassifyResponse(probabilities=TENSOR, digits=[1, 2]), "2 digits for 1 images"),
    (
        pb.ClassifyResponse(probabilities=TENSOR, digits=[1], novelties=[0.5, 1], are_digits=[True, True]),
        "2 novelties and 2 judgements of them for 1 images",
    ),
    (
        pb.ClassifyResponse(probabilities=TENSOR, digits=[1], novelties=[0.5]),
        "1 novelties and 0 judgements of them for 1 images",
    ),
    (
        pb.ClassifyResponse(probabilities=TENSOR, digits=[1], are_digits=[False]),
        "0 novelties and 1 judgements of them for 1 images",
    ),
    (pb.ClassifyResponse(probabilities=floats("softmax", np.eye(10)), digits=[1]), "of shape .* for 1 images"),
    (pb.ClassifyResponse(probabilities=floats("softmax", np.eye(9)[:1]), digits=[1]), r"one image's shape is \[10\]"),
    (
        pb.ClassifyResponse(probabilities=TENSOR, digits=[1], activations=[floats("relu_1", np.zeros((1, 9)))]),
        r"'relu_1' of shape \[1, 9\] for 1 images, and one image's shape is \[8\]",
    ),
    (pb.ClassifyResponse(probabilities=TENSOR, digits=[10]), "a class that isn't one of the 10 of model 'scripted'"),
    (pb.ClassifyResponse(probabilities=TENSOR, digits=[-1]), "a class that isn't one of the 10 of model 'scripted'"),
    (pb.ClassifyResponse(probabilities=floats("softmax", np.zeros(10)), digits=[1]), "of shape .* for 1 images"),
    (
        pb.ClassifyResponse(probabilities=pb.Tensor(shape=[1, 2], dtype=pb.DATA_TYPE_UINT8), digits=[1]),
        "something else than float32",
    ),
    (
        pb.ClassifyResponse(probabilities=pb.Tensor(shape=[1, 2], dtype=pb.DATA_TYPE_FLOAT32), digits=[1]),
        "don't fill its shape",
    ),
]


@pytest.mark.parametrize(("answer", "message"), WRONG_ANSWERS, ids=[message for _, message in WRONG_ANSWERS])
def test_an_answer_that_makes_no_sense_is_an_error(
    answer: pb.ClassifyResponse, message: str, ask: Ask, scripted: ScriptedServer
) -> None:
    answer.model.CopyFrom(IDENTITY)
    scripted.answer = answer
    with pytest.raises(AnswerError, match=message):
        ask(scripted.target, "classify", SEVEN)


def test_a_layer_of_a_newer_kind_is_an_error_that_says_so() -> None:
    layer = pb.Layer(name="gelu_1", kind=99)  # type: ignore[arg-type]
    with pytest.raises(AnswerError, match="'gelu_1' is of a kind that this client doesn't know"):
        _ = wire.read_description(
            pb.GetModelResponse(model=pb.Model(layers=[layer], pixels_shape=[18, 18]))
        ).complete_model


def test_a_description_without_the_shape_of_the_pixels_is_an_error() -> None:
    with pytest.raises(AnswerError, match="didn't send the shape of the pixels of model 'bare'"):
        wire.read_description(pb.GetModelResponse(model=pb.Model(identity=pb.ModelIdentity(name="bare"))))


def test_parameters_that_dont_fit_each_other_are_an_error() -> None:
    weight, bias = floats("weight", np.eye(3)), floats("bias", np.zeros(2))
    with pytest.raises(AnswerError, match=r"weight \(3, 3\) with a bias \(2,\)"):
        wire.read_parameters(pb.GetParametersResponse(weight=weight, bias=bias), "linear_1")


def test_a_model_describes_itself(ask: Ask, scripted: ScriptedServer) -> None:
    model = ask(scripted.target, "model")
    assert [layer.name for layer in model.layers] == ["input", "linear_1", "relu_1", "linear_2", "softmax"]
    assert model.layers[2].kind is LayerKind.RELU
    assert model.limits.max_images == 4
    assert model.classes == tuple("0123456789")
    assert "input 324 → linear_1 8 → relu_1 8 → linear_2 10 → softmax 10" in repr(model)


def test_the_list_of_models_has_its_default_and_says_what_failed(ask: Ask, scripted: ScriptedServer) -> None:
    failed, serving, _ = ask(scripted.target, "models")
    assert (serving.name, serving.default, serving.state, serving.reason) == ("scripted", True, "AVAILABLE", "")
    assert (failed.version, failed.default, failed.state, failed.reason) == ("2", False, "FAILED", "it is cut off")


def test_a_state_that_this_client_does_not_know_is_no_error(ask: Ask, scripted: ScriptedServer) -> None:
    *_, newer = ask(scripted.target, "models")
    assert newer.state == "UNKNOWN"


def test_parameters_come_as_arrays(ask: Ask, scripted: ScriptedServer) -> None:
    parameters = ask(scripted.target, "parameters", "linear_1")
    np.testing.assert_array_equal(parameters.weight, np.eye(3, dtype=np.float32))
    assert parameters.bias.shape == (3,)
    assert repr(parameters) == "Parameters('linear_1', weight=(3, 3), bias=(3,))"


def test_health_is_true_when_the_server_serves(ask: Ask, scripted: ScriptedServer) -> None:
    state = ask(scripted.target, "health")
    assert state
    assert state.status == "SERVING"


def test_a_closed_client_says_that_it_is(scripted: ScriptedServer) -> None:
    client = Client(scripted.target)
    client.close()
    client.close()
    assert repr(client) == f"Client('{scripted.target}', closed)"
    with pytest.raises(UsageError, match="this client is closed"):
        client.health()
    with pytest.raises(UsageError, match="this client is closed"):
        client.model()


async def test_a_closed_async_client_says_that_it_is(scripted: ScriptedServer) -> None:
    client = AsyncClient(scripted.target)
    await client.models()
    await client.close()
    await client.close()
    with pytest.raises(UsageError, match="this client is closed"):
        await client.models()


async def test_an_async_client_keeps_its_stub(scripted: ScriptedServer) -> None:
    async with AsyncClient(scripted.target) as client:
        assert client._stub() is client._stub()


def test_an_async_client_can_be_made_without_an_event_loop(scripted: ScriptedServer) -> None:
    assert repr(AsyncClient(scripted.target)) == f"AsyncClient('{scripted.target}')"


def test_threads_share_a_client(scripted: ScriptedServer, images: npt.NDArray[np.uint8]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with Client(scripted.target) as client, ThreadPoolExecutor(4) as pool:
        digits = pool.map(lambda image: client.classify(image, preparation="none").digit, images)
        assert list(digits) == list(range(10))


HALF = "\ud800"
"""Half of a pair of surrogates: a text that no message can hold."""


@pytest.mark.parametrize(
    ("method", "arguments", "options"),
    [
        ("classify", (SEVEN,), {"model": HALF}),
        ("classify", (SEVEN,), {"activations": HALF}),
        ("classify", (SEVEN,), {"activations": ["relu_1", HALF]}),
        ("model", (HALF,), {}),
        ("parameters", (HALF,), {}),
        ("parameters", ("linear_1", HALF), {}),
    ],
)
def test_a_name_that_no_message_can_hold_is_refused(
    ask: Ask, scripted: ScriptedServer, method: str, arguments: tuple[Any, ...], options: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match=r"the name '\\ud800' has half a character, at position 0"):
        ask(scripted.target, method, *arguments, **options)


@pytest.mark.parametrize("make", [Client, AsyncClient])
@pytest.mark.parametrize("move", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_client_that_is_sent_to_another_process_says_what_to_do(
    make: type[Client] | type[AsyncClient], move: Callable[[object], object]
) -> None:
    with pytest.raises(TypeError, match="Client can't be pickled or copied: make one in each process"):
        move(make())
