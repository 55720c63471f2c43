"""Many images: order, requests within the limits, laziness, requests under way at once, and what failures leave."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from client.conftest import Ask
from client.scripted import (
    LAYERS,
    PATIENCE_SECONDS,
    ScriptedServer,
    fail,
    succeed,
    wait_for_the_client_to_leave,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrine.client import (
    AsyncClient,
    Client,
    ImageError,
    InvalidRequestError,
    Limits,
    Model,
    TrainingFacts,
    UsageError,
)
from vitrine.client.base import IN_FLIGHT
from vitrine.client.chunks import FRAME_BYTES, Capacity, Chunker, capacity_for
from vitrine.client.wire import build_request, build_selection
from vitrine.model import DIGITS, DIGITS_INPUT
from vitrine.model.answer import ENVELOPE_BYTES, LAYER_BYTES
from vitrine.v1 import classifier_pb2 as pb

Images = npt.NDArray[np.uint8]


def test_each_of_many_images_has_its_own_novelty(ask: Ask, scripted: ScriptedServer, images: Images) -> None:
    scripted.threshold = 6.0
    predictions = ask(scripted.target, "classify_many", images, preparation="none")
    assert sorted(scripted.sizes, reverse=True) == [4, 4, 2]
    assert [(one.novelty, one.is_digit) for one in predictions] == [(float(i), i <= 6) for i in range(10)]


def many(scripted: ScriptedServer, images: Any, ask: Ask, **options: Any) -> list[int]:
    predictions = ask(scripted.target, "classify_many", images, preparation="none", **options)
    return [prediction.digit for prediction in predictions]


def test_predictions_come_in_the_order_of_the_images(ask: Ask, scripted: ScriptedServer, images: Images) -> None:
    order = np.random.default_rng(0).permutation(10)
    assert many(scripted, images[order], ask) == order.tolist()


def test_requests_are_as_large_as_the_server_allows(ask: Ask, scripted: ScriptedServer, images: Images) -> None:
    many(scripted, images, ask)
    assert sorted(scripted.sizes, reverse=True) == [4, 4, 2]


def test_no_images_give_no_predictions_and_no_request(ask: Ask, scripted: ScriptedServer) -> None:
    assert many(scripted, [], ask) == []
    assert scripted.sizes == []


def test_answers_stay_within_the_servers_message_limit(ask: Ask, scripted: ScriptedServer, images: Images) -> None:
    scripted.limits.max_message_bytes = ENVELOPE_BYTES + LAYER_BYTES * len(LAYERS) + 2 * 2000
    many(scripted, images, ask, activations="all")  # 4 × (324 + 8 + 8 + 10 + 10 + 10) + 10 = 1490 bytes each
    assert set(scripted.sizes) == {2}


def test_answers_stay_within_the_clients_own_limit(ask: Ask, scripted: ScriptedServer, images: Images) -> None:
    limit = ENVELOPE_BYTES + LAYER_BYTES * len(LAYERS) + 2 * 2000
    assert many(scripted, images, ask, activations="all", options={"max_message_bytes": limit}) == list(range(10))
    assert set(scripted.sizes) == {2}


def test_files_are_sent_within_the_servers_message_limit(ask: Ask, scripted: ScriptedServer) -> None:
    scripted.limits.max_message_bytes = ENVELOPE_BYTES + 2100
    files = [bytes([digit]) * 1000 for digit in range(5)]
    predictions = ask(scripted.target, "classify_many", files, preparation="server")
    assert [prediction.digit for prediction in predictions] == [0, 1, 2, 3, 4]
    assert sorted(scripted.sizes) == [1, 2, 2]


def test_no_activations_come_unless_asked_for(scripted: ScriptedServer, images: Images) -> None:
    with Client(scripted.target) as client:
        assert not any(p.activations for p in client.classify_many(images, preparation="none"))
        wanted = client.classify_many(images, activations=["relu_1"], preparation="none")
        assert [list(prediction.activations) for prediction in wanted] == [["relu_1"]] * 10


def test_progress_hears_how_many_are_done(ask: Ask, scripted: ScriptedServer, images: Images) -> None:
    heard: list[int] = []
    many(scripted, images, ask, progress=heard.append)
    assert heard == [4, 8, 10]


def test_several_requests_are_under_way_at_once(ask: Ask, scripted: ScriptedServer, images: Images) -> None:
    together = threading.Barrier(2)

    def meet(request: Any, context: grpc.ServicerContext) -> None:
        together.wait(PATIENCE_SECONDS)

    scripted.script = [succeed, meet, meet]
    assert many(scripted, images, ask) == list(range(10))


def endless(taken: list[int]) -> Iterator[Images]:
    for number in itertools.count():
        taken.append(number)
        yield np.full((18, 18), number % 10, np.uint8)


def test_endless_images_are_read_only_as_far_as_needed(scripted: ScriptedServer) -> None:
    taken: list[int] = []
    with Client(scripted.target) as client:
        predictions = client.classify_many(endless(taken), preparation="none")
        digits = [prediction.digit for prediction in itertools.islice(predictions, 10)]
    assert digits == list(range(10))
    assert len(taken) <= 10 + IN_FLIGHT * scripted.limits.max_images


def test_nothing_happens_before_the_first_prediction_is_asked_for(scripted: ScriptedServer) -> None:
    taken: list[int] = []
    with Client(scripted.target) as client:
        client.classify_many(endless(taken), preparation="none")
    assert (taken, scripted.requests) == ([], [])


class Leaving:
    """Holds the first answer back until the second request is there, and notices when that one is cancelled."""

    def __init__(self, scripted: ScriptedServer) -> None:
        self._second_came, self.cancelled = threading.Event(), threading.Event()
        scripted.script = [succeed, *[self.step] * 3]

    def step(self, request: pb.ClassifyRequest, context: grpc.ServicerContext) -> None:
        match request.pixels.data[0]:
            case 0:
                assert self._second_came.wait(PATIENCE_SECONDS)
            case 4:
                self._second_came.set()
                wait_for_the_client_to_leave(request, context)
                self.cancelled.set()


def test_leaving_early_cancels_what_is_under_way(scripted: ScriptedServer, images: Images) -> None:
    leaving = Leaving(scripted)
    with Client(scripted.target) as client:
        predictions = client.classify_many(images, preparation="none")
        next(predictions)
        predictions.close()
        assert leaving.cancelled.wait(PATIENCE_SECONDS)


async def test_leaving_early_cancels_what_is_under_way_in_async_too(scripted: ScriptedServer, images: Images) -> None:
    leaving = Leaving(scripted)
    async with AsyncClient(scripted.target) as client:
        predictions = client.classify_many(images, preparation="none")
        await anext(predictions)
        await predictions.aclose()
        assert await asyncio.to_thread(leaving.cancelled.wait, PATIENCE_SECONDS)


async def test_leaving_early_closes_the_images_that_come_asynchronously(scripted: ScriptedServer) -> None:
    is_closed = False

    async def arriving() -> AsyncIterator[Images]:
        nonlocal is_closed
        try:
            for image in endless([]):
                yield image
        finally:
            is_closed = True

    source = arriving()  # held, so that no garbage collection closes it
    async with AsyncClient(scripted.target) as client:
        predictions = client.classify_many(source, preparation="none")
        await anext(predictions)
        await predictions.aclose()
        assert is_closed


async def test_images_may_come_asynchronously(scripted: ScriptedServer, images: Images) -> None:
    async def arriving() -> AsyncIterator[Images]:
        for image in images:
            await asyncio.sleep(0)
            yield image

    async with AsyncClient(scripted.target) as client:
        digits = [p.digit async for p in client.classify_many(arriving(), preparation="none")]
    assert digits == list(range(10))


@pytest.fixture(params=["an image that can't be read", "an iterable that breaks"])
def breaking(request: pytest.FixtureRequest, images: Images) -> Any:
    """Six good images, and then a failure."""
    if request.param == "an image that can't be read":
        return [*images[:6], np.zeros((1, 1), np.uint8), *images[6:]]
    return itertools.chain(images[:6], (breaks() for _ in range(1)))


def breaks() -> Any:
    raise ImageError("CAMERA_GONE", "the camera is gone")


def test_what_came_before_a_bad_image_is_answered(scripted: ScriptedServer, breaking: Any) -> None:
    with Client(scripted.target) as client:
        predictions = client.classify_many(breaking, preparation="none")
        assert [next(predictions).digit for _ in range(6)] == list(range(6))
        with pytest.raises(ImageError):
            next(predictions)


async def test_what_came_before_a_bad_image_is_answered_in_async_too(scripted: ScriptedServer, breaking: Any) -> None:
    async with AsyncClient(scripted.target) as client:
        predictions = client.classify_many(breaking, preparation="none")
        assert [(await anext(predictions)).digit for _ in range(6)] == list(range(6))
        with pytest.raises(ImageError):
            await anext(predictions)


def test_a_refused_request_ends_the_predictions(ask: Ask, scripted: ScriptedServer, images: Images) -> None:
    scripted.script = [succeed, fail(grpc.StatusCode.INVALID_ARGUMENT, "no such layer")]
    with pytest.raises(InvalidRequestError, match="no such layer"):
        many(scripted, images, ask)


@pytest.mark.parametrize(
    "image", ["eight.png", Path("eight.png"), b"bytes", BytesIO(b"bytes")], ids=["text", "path", "bytes", "file"]
)
def test_one_image_for_many_is_refused_at_once(image: Any) -> None:
    with Client() as client, pytest.raises(UsageError, match="use classify"):
        client.classify_many(image)
    with pytest.raises(UsageError, match="use classify"):
        AsyncClient().classify_many(image)


ONE_IMAGE_SHAPES = [(18,), (18, 18), (40, 30, 3), (40, 30, 4)]


@pytest.mark.parametrize("shape", ONE_IMAGE_SHAPES, ids=str)
def test_one_image_as_an_array_is_refused_for_many(shape: tuple[int, ...]) -> None:
    with Client() as client, pytest.raises(UsageError, match=r"array \(N, H, W\).*for one image, use classify"):
        client.classify_many(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(3, 18, 18), (2, 18, 18, 3), (2, 18, 18, 4), (0, 18, 18)], ids=str)
def test_an_array_of_images_is_many(shape: tuple[int, ...], scripted: ScriptedServer) -> None:
    with Client(scripted.target) as client:
        assert len(list(client.classify_many(np.zeros(shape, np.uint8)))) == shape[0]


def test_an_array_of_paths_is_many(scripted: ScriptedServer) -> None:
    with Client(scripted.target) as client, pytest.raises(ImageError, match=r"no/such\.png"):
        list(client.classify_many(np.array(["no/such.png"])))


def test_bad_arguments_are_refused_before_the_first_prediction() -> None:
    with Client() as client:
        with pytest.raises(UsageError, match="preparation"):
            client.classify_many([], preparation="remote")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="timeout"):
            client.classify_many([], timeout=-1)


def model_with(limits: Limits) -> Model:
    return Model("m", "1", "CPU", LAYERS, DIGITS, limits, TrainingFacts("d", 0, 0), DIGITS_INPUT)


@settings(deadline=None)
@given(
    images=st.integers(1, 5000),
    message_bytes=st.integers(1 << 14, 1 << 24),
    wanted=st.sampled_from([None, "all", ["relu_1"], ["input", "softmax"]]),
)
def test_a_full_request_and_its_answer_fit_the_limits(images: int, message_bytes: int, wanted: Any) -> None:
    selection = build_selection(wanted)
    model = model_with(Limits(images, message_bytes, 1))
    capacity = capacity_for(model, selection, 1 << 28)
    rows = capacity.images
    names = {layer.name: layer.width for layer in LAYERS if wanted == "all" or layer.name in (wanted or [])}
    tensors = [pb.Tensor(name=name, shape=[rows, width], data=bytes(4 * rows * width)) for name, width in names.items()]
    probabilities = pb.Tensor(name="softmax", shape=[rows, 10], data=bytes(40 * rows))
    answer = pb.ClassifyResponse(
        digits=[9] * rows,
        probabilities=probabilities,
        activations=tensors,
        novelties=[-1.5] * rows,
        are_digits=[True] * rows,
    )
    assert rows <= images
    assert answer.ByteSize() <= message_bytes
    fitting = min(rows, capacity.payload_bytes // (324 + FRAME_BYTES))
    assert build_request([bytes(324)] * fitting, selection, "", "none", model).ByteSize() <= message_bytes


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 50)),
    most=st.integers(1, 6),
    payload_bytes=st.integers(FRAME_BYTES, 200),
)
def test_chunks_hold_every_image_once_and_in_order(sizes: list[int], most: int, payload_bytes: int) -> None:
    payloads = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    chunker = Chunker(
        Capacity(most, payload_bytes), lambda files: pb.ClassifyRequest(encoded=pb.EncodedImages(files=files))
    )
    chunks = [list(r.encoded.files) for payload in payloads for r in chunker.add(payload)]
    chunks += [list(request.encoded.files) for request in chunker.rest()]
    assert list(itertools.chain(*chunks)) == payloads
    for chunk in chunks:
        assert 1 <= len(chunk) <= most
        assert len(chunk) == 1 or sum(len(payload) + FRAME_BYTES for payload in chunk) <= payload_bytes
