"""The client learns models from the server: once, again when they change, and from servers of any age."""

import asyncio
import itertools
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from client.conftest import Ask
from client.scripted import (
    IDENTITY,
    ScriptedModel,
    ScriptedServer,
    error_info,
    fail,
    floats,
    succeed,
    wait_for_the_client_to_leave,
)

from vitrine.client import (
    AnswerError,
    AsyncClient,
    Client,
    DeadlineError,
    ImageError,
    InvalidRequestError,
    LayerKind,
    LimitError,
    NotFoundError,
    PermissionDeniedError,
    Prediction,
    UsageError,
    VitrineError,
    wire,
)
from vitrine.client.base import LOOKUPS
from vitrine.client.catalogue import CAPACITY
from vitrine.model import ImageSource, prepare
from vitrine.v1 import classifier_pb2 as pb

ARROWS = ScriptedModel("2", (12, 20), ("up", "down", "left", "right"))
DIGIT, ARROW = np.full((18, 18), 3, np.uint8), np.full((12, 20), 3, np.uint8)


@pytest.fixture(params=["classify", "classify_many"])
def way(request: pytest.FixtureRequest) -> str:
    """The method that classifies."""
    return str(request.param)


async def use(client: AsyncClient | Client, way: str, image: npt.NDArray[np.uint8], **options: Any) -> Prediction:
    """Classifies an image, as it is, by either method of either client."""
    options = {"preparation": "none"} | options
    if way == "classify":
        result = client.classify(image, **options)
        return await result if not isinstance(result, Prediction) else result
    predictions = client.classify_many([image], **options)
    if isinstance(predictions, Generator):
        (only,) = list(predictions)
    else:
        (only,) = [prediction async for prediction in predictions]
    assert isinstance(only, Prediction)
    return only


@pytest.fixture(params=[Client, AsyncClient])
def client(request: pytest.FixtureRequest, scripted: ScriptedServer) -> Client | AsyncClient:
    made: Client | AsyncClient = request.param(scripted.target)
    return made


async def test_a_description_is_asked_for_once(
    client: Client | AsyncClient, way: str, scripted: ScriptedServer
) -> None:
    for _ in range(3):
        assert (await use(client, way, DIGIT)).label == "3"
    assert scripted.lookups == [""]
    await use(client, way, DIGIT, model="other")
    assert scripted.lookups == ["", "other"]


async def test_a_model_of_another_shape_is_learnt_when_its_shape_is_refused(
    client: Client | AsyncClient, way: str, scripted: ScriptedServer
) -> None:
    drawing = np.full((40, 40), 255, np.uint8)
    drawing[5:35, 10:20] = 0
    assert (await use(client, way, drawing, preparation="local")).classes == tuple("0123456789")
    scripted.model = ARROWS
    prediction = await use(client, way, drawing, preparation="local", activations="all")
    assert (prediction.classes, prediction.pixels.shape) == (ARROWS.classes, (12, 20))
    assert list(scripted.classified[-1].pixels.shape) == [1, 12, 20]
    assert scripted.lookups == ["", ""]
    scripted.model = ScriptedModel("3")
    assert (await use(client, way, drawing, preparation="local")).digit in range(10)


async def test_pixels_of_another_shape_are_the_servers_to_refuse(
    client: Client | AsyncClient, way: str, scripted: ScriptedServer
) -> None:
    assert (await use(client, way, DIGIT)).label == "3"
    scripted.model = ARROWS
    assert (await use(client, way, ARROW)).label == "right"
    with pytest.raises(ImageError, match="a uint8 array \\(12, 20\\)"):
        await use(client, way, DIGIT)
    assert len(scripted.classified) == 2


async def test_a_model_that_can_be_prepared_for_again_is_learnt(
    client: Client | AsyncClient, way: str, scripted: ScriptedServer
) -> None:
    scripted.model = ScriptedModel(preparation="newer")
    with pytest.raises(UsageError, match="can't prepare images"):
        await use(client, way, DIGIT, preparation="local")
    scripted.model = ScriptedModel()
    assert (await use(client, way, DIGIT, preparation="local")).digit in range(10)


async def test_a_new_version_brings_its_own_labels(
    client: Client | AsyncClient, way: str, scripted: ScriptedServer
) -> None:
    scripted.model = ARROWS
    assert (await use(client, way, ARROW)).label == "right"
    scripted.model = ScriptedModel("3", (12, 20), ("a", "b", "c", "d"))
    assert (await use(client, way, ARROW)).label == "d"
    assert scripted.lookups == ["", "scripted@3"]
    scripted.model = ARROWS  # another replica's: it is known
    assert (await use(client, way, ARROW)).label == "right"
    assert scripted.lookups == ["", "scripted@3"]


async def test_files_of_a_version_that_are_replaced_in_place_are_noticed(
    client: Client | AsyncClient, way: str, scripted: ScriptedServer
) -> None:
    scripted.model = ScriptedModel("1", (12, 20), ("a", "b"))
    assert (await use(client, way, ARROW)).label == "b"
    scripted.model = ScriptedModel("1", (12, 20), ("a", "b", "c", "d", "e"))
    assert (await use(client, way, ARROW)).label == "d"


async def test_a_replaced_file_brings_its_own_labels(
    client: Client | AsyncClient, way: str, scripted: ScriptedServer
) -> None:
    first = ScriptedModel("1", (12, 20), ("a", "b"), digest="11")
    second = ScriptedModel("1", (12, 20), ("b", "a"), digest="22")
    for model in (first, second, first, second):  # replicas, while the second is rolled out
        scripted.model = model
        assert (await use(client, way, ARROW)).label == model.classes[1]
    assert scripted.lookups == ["", "scripted@1"]


async def test_servers_with_and_without_digests_serve_the_same_version(
    client: Client | AsyncClient, way: str, scripted: ScriptedServer
) -> None:
    for digest in ("", "11", "", "11"):
        scripted.model = ScriptedModel(digest=digest)
        assert (await use(client, way, DIGIT)).label == "3"
    assert scripted.lookups == [""]


async def test_a_version_that_is_gone_at_once_is_an_error_that_names_it(
    client: Client | AsyncClient, way: str, scripted: ScriptedServer
) -> None:
    await use(client, way, DIGIT)
    scripted.script = [succeed, *[fail(grpc.StatusCode.NOT_FOUND)] * LOOKUPS]
    scripted.model = ScriptedModel("2")
    with pytest.raises(AnswerError, match=r"scripted@2 answered, and .* doesn't serve it any more: classify again"):
        await use(client, way, DIGIT)
    assert (await use(client, way, DIGIT)).digit == 3


async def test_a_replica_that_lacks_the_version_is_asked_again(
    client: Client | AsyncClient, way: str, scripted: ScriptedServer
) -> None:
    await use(client, way, DIGIT)
    scripted.script = [succeed, fail(grpc.StatusCode.NOT_FOUND)]
    scripted.model = ScriptedModel("2")
    assert (await use(client, way, DIGIT)).model.version == "2"


async def test_smaller_limits_are_learnt_when_they_are_passed(
    client: Client | AsyncClient, scripted: ScriptedServer
) -> None:
    await use(client, "classify", DIGIT)
    for code, reason, error in (
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE", LimitError),
        (grpc.StatusCode.INVALID_ARGUMENT, "TOO_MANY_IMAGES", InvalidRequestError),
    ):
        before = len(scripted.lookups)
        scripted.script = [fail(code, "too much", (error_info(reason),))]
        with pytest.raises(error):
            await use(client, "classify", DIGIT)
        await use(client, "classify", DIGIT)
        assert len(scripted.lookups) == before + 1


async def test_other_failures_leave_the_description_as_it_is(
    client: Client | AsyncClient, way: str, scripted: ScriptedServer
) -> None:
    await use(client, way, DIGIT)
    scripted.script = [fail(grpc.StatusCode.INVALID_ARGUMENT, "bad", (error_info("LAYER_UNKNOWN"),))]
    with pytest.raises(InvalidRequestError):
        await use(client, way, DIGIT)
    await use(client, way, DIGIT)
    assert scripted.lookups == [""]


async def test_a_shape_that_is_refused_again_and_again_is_an_error(
    client: Client | AsyncClient, way: str, scripted: ScriptedServer
) -> None:
    refused = fail(grpc.StatusCode.INVALID_ARGUMENT, "wrong shape", (error_info("WRONG_SHAPE"),))
    scripted.script = [succeed, refused, succeed, refused, succeed]
    with pytest.raises(InvalidRequestError, match="wrong shape"):
        await use(client, way, DIGIT)
    assert len(scripted.lookups) <= 2


@pytest.mark.parametrize(
    ("code", "error"),
    [(grpc.StatusCode.NOT_FOUND, NotFoundError), (grpc.StatusCode.PERMISSION_DENIED, PermissionDeniedError)],
)
async def test_a_model_that_cant_be_described_is_the_servers_own_error(
    code: grpc.StatusCode, error: type[Exception], client: Client | AsyncClient, way: str, scripted: ScriptedServer
) -> None:
    scripted.script = [fail(code, "the server says", (error_info("REASON"),))]
    with pytest.raises(error, match=r"^the server says$"):
        await use(client, way, DIGIT, model="hidden")
    assert scripted.classified == []


async def test_the_deadline_includes_the_question_for_the_description(
    client: Client | AsyncClient, scripted: ScriptedServer
) -> None:
    left: list[float] = []

    def slowly(_: Any, context: grpc.ServicerContext) -> None:
        threading.Event().wait(1)

    def note(_: Any, context: grpc.ServicerContext) -> None:
        left.append(context.time_remaining())

    scripted.script = [slowly, note]
    await use(client, "classify", DIGIT, timeout=9)
    assert left[0] < 8.5
    scripted.script = [succeed, wait_for_the_client_to_leave]
    with pytest.raises(DeadlineError, match=r"within 0\.2 s"):
        await use(client, "classify", DIGIT, model="other", timeout=0.2)


async def test_the_deadline_leaves_out_the_preparation_of_the_image(
    client: Client | AsyncClient, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer_slowly(request: Any, context: grpc.ServicerContext) -> None:
        time.sleep(0.2)  # more than a call whose time is over has left

    def prepare_slowly(image: ImageSource, **options: Any) -> npt.NDArray[np.uint8]:
        time.sleep(2)
        return prepare(image, **options)

    monkeypatch.setattr(wire, "prepare", prepare_slowly)
    scripted.script = [succeed, answer_slowly]
    assert (await use(client, "classify", DIGIT, preparation="local", timeout=1.5)).digit in range(10)


def test_threads_may_all_call_first(scripted: ScriptedServer) -> None:
    with Client(scripted.target) as client, ThreadPoolExecutor(8) as pool:
        labels = list(pool.map(lambda _: client.classify(DIGIT, preparation="none").label, range(32)))
    assert labels == ["3"] * 32
    assert 1 <= len(scripted.lookups) <= 8


async def test_tasks_may_all_call_first(scripted: ScriptedServer) -> None:
    async with AsyncClient(scripted.target) as client:
        calls = (client.classify(DIGIT, preparation="none") for _ in range(32))
        assert [prediction.label for prediction in await asyncio.gather(*calls)] == ["3"] * 32


def test_the_memory_of_descriptions_is_bounded(scripted: ScriptedServer) -> None:
    with Client(scripted.target) as client:
        for number in range(CAPACITY + 20):
            client.model(f"model {number}")
        assert len(client._catalogue._descriptions) == CAPACITY
        assert client._catalogue.find("model 0") is None


def test_a_server_from_before_layers_had_shapes_is_understood(ask: Ask, scripted: ScriptedServer) -> None:
    scripted.is_old, scripted.model = True, ARROWS
    model = ask(scripted.target, "model")
    assert (model.input.shape, model.input.preparation) == ((12, 20), "ink")
    assert [layer.shape for layer in model.layers] == [(240,), (8,), (8,), (4,), (4,)]
    assert [layer.reads for layer in model.layers[:3]] == [(), ("input",), ("linear_1",)]
    prediction = ask(scripted.target, "classify", ARROW)
    assert (prediction.label, prediction.pixels.shape) == (ARROWS.classes[prediction.index], (12, 20))
    assert prediction.activations.layers["relu_1"].kind is LayerKind.RELU


def test_a_layer_of_a_newer_kind_stops_no_classification(ask: Ask, scripted: ScriptedServer) -> None:
    newer = pb.Layer(name="gelu_1", kind=99, width=1, shape=[1])  # type: ignore[arg-type]
    scripted.model = ScriptedModel(newer_layers=(newer,))
    prediction = ask(scripted.target, "classify", DIGIT, preparation="none")
    assert prediction.activations["gelu_1"].tolist() == [3]
    assert "gelu_1" not in prediction.activations.layers
    with pytest.raises(AnswerError, match="'gelu_1' is of a kind that this client doesn't know"):
        ask(scripted.target, "model")


def test_a_preparation_that_this_client_doesnt_know_is_the_servers_to_do(ask: Ask, scripted: ScriptedServer) -> None:
    scripted.model = ScriptedModel(preparation="colour")
    with pytest.raises(UsageError, match=r"can't prepare images for model 'scripted' \('colour', \[18, 18\]\)"):
        ask(scripted.target, "classify", DIGIT)
    assert ask(scripted.target, "classify", b"\x05", preparation="server").digit == 5
    assert ask(scripted.target, "classify", DIGIT, preparation="none").digit == 3


def test_a_prediction_of_other_classes_has_a_label_and_no_digit(ask: Ask, scripted: ScriptedServer) -> None:
    scripted.model = ARROWS
    prediction = ask(scripted.target, "classify", ARROW, preparation="none")
    assert (prediction.label, prediction.index, prediction.classes) == ("right", 3, ARROWS.classes)
    assert repr(prediction).startswith("Prediction(label='right', probability=1.0000, ")
    with pytest.raises(VitrineError, match=r"model 'scripted' aren't digits \(up, down, left, right\): use \.label"):
        _ = prediction.digit


def test_digits_in_any_order_are_digits(ask: Ask, scripted: ScriptedServer) -> None:
    scripted.model = ScriptedModel(classes=("8", "3", "1", "7"))
    prediction = ask(scripted.target, "classify", DIGIT, preparation="none")
    assert (prediction.index, prediction.label, prediction.digit) == (3, "7", 7)


def test_without_the_input_layer_there_are_no_pixels(ask: Ask, scripted: ScriptedServer) -> None:
    prediction = ask(scripted.target, "classify", DIGIT, activations="relu_1")
    assert not prediction.has_pixels
    with pytest.raises(KeyError, match="no activations of 'input' here, only of: relu_1"):
        _ = prediction.pixels


async def test_a_remembered_model_is_confirmed_by_the_first_image_alone(
    client: Client | AsyncClient, scripted: ScriptedServer
) -> None:
    images = np.repeat(np.arange(10, dtype=np.uint8), 324).reshape(10, 18, 18)
    await use(client, "classify", DIGIT)
    scripted.requests.clear()
    predictions = client.classify_many(images, preparation="none")
    if isinstance(predictions, Generator):
        digits = [prediction.digit for prediction in predictions]
    else:
        digits = [prediction.digit async for prediction in predictions]
    assert digits == list(range(10))
    assert (scripted.lookups, sorted(scripted.sizes)) == ([], [1, 1, 4, 4])


def test_a_shape_that_changes_while_iterating_is_an_error_and_the_next_call_is_right(scripted: ScriptedServer) -> None:
    endless = (np.full((18, 18), number % 10, np.uint8) for number in itertools.count())
    with Client(scripted.target) as client:
        predictions = client.classify_many(endless, preparation="none")
        next(predictions)
        scripted.model = ARROWS
        with pytest.raises(InvalidRequestError, match="wrong shape"):
            list(predictions)
        assert client.classify(ARROW, preparation="none").label == "right"


def test_an_answer_of_nobody_is_an_error(ask: Ask, scripted: ScriptedServer) -> None:
    scripted.answer = pb.ClassifyResponse(digits=[1], probabilities=floats("softmax", np.eye(10)[:1]))
    assert scripted.answer.model != IDENTITY
    with pytest.raises(AnswerError, match=r"@ answered, and .* doesn't serve it any more"):
        ask(scripted.target, "classify", DIGIT)
