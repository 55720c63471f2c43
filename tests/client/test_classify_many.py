"""Many images: order, requests within the limits, laziness, requests under way at once, and what failures leave."""

import asyncio
import itertools
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
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
    bad_field,
    count_of,
    error_info,
    fail,
    succeed,
    wait_for_the_client_to_leave,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

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
from vitrine.client.batches import FRAME_BYTES, KEPT_BYTES, Batcher, Item, capacity_for
from vitrine.client.plan import Plan
from vitrine.client.wire import build_selection
from vitrine.model import DIGITS, DIGITS_INPUT, prepare
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
            client.classify_many([], preparation="remote")  # type: ignore[call-overload]
        with pytest.raises(UsageError, match="timeout"):
            client.classify_many([], timeout=-1)


def model_with(limits: Limits) -> Model:
    return Model("m", "1", "CPU", LAYERS, DIGITS, limits, TrainingFacts("d", 0, 0), DIGITS_INPUT)


@settings(deadline=None)
@given(
    images=st.integers(1, 5000),
    message_bytes=st.integers(1 << 14, 1 << 24),
    wanted=st.sampled_from([None, "all", ["relu_1"], ["input", "softmax"]]),
    intervened=st.booleans(),
)
def test_a_full_request_and_its_answer_fit_the_limits(
    images: int, message_bytes: int, wanted: Any, intervened: bool
) -> None:
    changes = pb.ImageInterventions(interventions=[pb.Intervention(layer="relu_1", scale=0)]) if intervened else None
    key = b"" if changes is None else changes.SerializeToString()
    plan = Plan(build_selection(wanted), "", "none", 1.0, interventions=changes, interventions_key=key)
    model = model_with(Limits(images, message_bytes, 1))
    capacity = capacity_for(model, plan, 1 << 28)
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
    if intervened:
        untouched = pb.Baseline(
            digits=[9] * rows,
            probabilities=probabilities,
            activations=tensors,
            novelties=[-1.5] * rows,
            are_digits=[True] * rows,
        )
        answer.baseline.CopyFrom(untouched)
    assert rows <= images
    assert answer.ByteSize() <= message_bytes
    fitting = min(rows, capacity.payload_bytes // (324 + FRAME_BYTES))
    assert plan.request([bytes(324)] * fitting, model).ByteSize() <= message_bytes


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 50)),
    most=st.integers(1, 6),
    payload_bytes=st.integers(FRAME_BYTES, 200),
)
def test_batches_hold_every_image_once_and_in_order(sizes: list[int], most: int, payload_bytes: int) -> None:
    items = [Item(position, bytes(size)) for position, size in enumerate(sizes)]
    model = model_with(Limits(most, ENVELOPE_BYTES + payload_bytes, 1))
    batcher = Batcher(Plan(None, "", "server", 1.0), model, 1 << 28)
    batcher._capacity = replace(batcher._capacity, images=most)  # answers of these limits hold one image
    batches = [batch for item in items for batch in batcher.add(item)]
    batches += batcher.rest()
    assert [item.position for batch in batches for item in batch.items] == list(range(len(sizes)))
    for batch in batches:
        size = sum(len(item.payload) + FRAME_BYTES for item in batch.items)
        assert 1 <= len(batch.items) <= most
        assert len(batch.items) == 1 or size <= payload_bytes


BAD = np.zeros((1, 1), np.uint8)
"""Pixels of a shape that no model takes."""


@pytest.mark.parametrize("bad", [{0}, {9}, {3, 4}, {0, 1, 2, 3, 4, 5}, set(range(10))], ids=str)
def test_a_bad_images_error_takes_its_place_and_the_others_are_classified(
    bad: set[int], ask: Ask, scripted: ScriptedServer, images: Images
) -> None:
    given = [BAD if position in bad else images[position] for position in range(10)]
    heard: list[int] = []
    options = {"preparation": "none", "return_exceptions": True, "progress": heard.append}
    outcomes = ask(scripted.target, "classify_many", given, **options)
    assert len(outcomes) == heard[-1] == 10
    for position, outcome in enumerate(outcomes):
        if position in bad:
            assert isinstance(outcome, ImageError)
            assert str(outcome).startswith(f'images[{position}]: preparation="none" takes pixels')
            assert outcome.message.startswith('preparation="none" takes pixels')
            assert outcome.position == position
        else:
            assert outcome.digit == position


FILES = [bytes([position]) * 20 for position in range(10)]


def refuse_files(scripted: ScriptedServer, *bad: int) -> None:
    """Has the server refuse these images as the real one does: it names the first bad file of a request."""

    def step(request: Any, context: grpc.ServicerContext) -> None:
        files = request.encoded.files if isinstance(request, pb.ClassifyRequest) else ()
        for index, file in enumerate(files):
            if file[0] in bad:
                details = (error_info("IMAGE_UNREADABLE"), bad_field(f"encoded.files[{index}]"))
                fail(grpc.StatusCode.INVALID_ARGUMENT, "the file can't be read", details)(request, context)

    scripted.script = [step] * 99


@pytest.mark.parametrize("bad", [[0], [9], [3, 4], [1, 2, 3, 5, 8], range(10)], ids=str)
def test_a_file_that_the_server_cant_read_takes_away_no_other(
    bad: Sequence[int], ask: Ask, scripted: ScriptedServer
) -> None:
    refuse_files(scripted, *bad)
    outcomes = ask(scripted.target, "classify_many", FILES, preparation="server", return_exceptions=True)
    assert len(outcomes) == 10
    for position, outcome in enumerate(outcomes):
        if position in bad:
            assert isinstance(outcome, InvalidRequestError)
            assert str(outcome) == f"images[{position}]: the file can't be read"
            assert (outcome.message, outcome.position) == ("the file can't be read", position)
            assert str(pickle.loads(pickle.dumps(outcome))) == str(outcome)
            assert outcome.reason == "IMAGE_UNREADABLE"
        else:
            assert outcome.digit == position


def test_files_that_the_server_cant_read_are_each_sent_a_few_times_only(ask: Ask, scripted: ScriptedServer) -> None:
    scripted.limits.max_images = count = 60
    refuse_files(scripted, *range(count))
    files = [bytes([position]) * 20 for position in range(count)]
    outcomes = ask(scripted.target, "classify_many", files, preparation="server", return_exceptions=True)
    assert [outcome.position for outcome in outcomes] == list(range(count))
    assert len(scripted.sizes) == count  # the server names one in each
    assert sum(scripted.sizes) <= count * count.bit_length()  # the halves of halves


def test_the_image_that_the_server_cant_read_is_named_after_those_before_it(scripted: ScriptedServer) -> None:
    refuse_files(scripted, 6)
    with Client(scripted.target) as client:
        predictions = client.classify_many(FILES, preparation="server")
        assert [next(predictions).digit for _ in range(6)] == list(range(6))
        with pytest.raises(InvalidRequestError, match=r"^images\[6\]: the file can't be read$"):
            next(predictions)


def test_the_first_images_error_says_so_when_the_model_is_known_already(ask: Ask, scripted: ScriptedServer) -> None:
    with Client(scripted.target) as client:
        client.classify(FILES[0], preparation="server")
        refuse_files(scripted, 0)
        first, *rest = client.classify_many(FILES, preparation="server", return_exceptions=True)
    assert str(first) == "images[0]: the file can't be read"
    assert len(rest) == 9


def test_a_failing_call_ends_the_predictions_even_where_errors_are_returned(
    ask: Ask, scripted: ScriptedServer, images: Images
) -> None:
    scripted.script = [succeed, fail(grpc.StatusCode.INVALID_ARGUMENT, "no such layer", (bad_field("activations"),))]
    with pytest.raises(InvalidRequestError, match="no such layer"):
        many(scripted, images, ask, return_exceptions=True)


def drawings(count: int) -> list[Images]:
    """Pages with a bar of ink each."""
    pages = np.full((count, 40, 40), 255, np.uint8)
    pages[:, 8:32, 16:22] = 0
    return list(pages)


def taking_over(scripted: ScriptedServer, **changes: Any) -> Callable[[Any, grpc.ServicerContext], None]:
    """A step that puts another model in the place of the one that is served."""

    def step(request: Any, context: grpc.ServicerContext) -> None:
        scripted.model = replace(scripted.model, version="2", **changes)

    return step


@pytest.mark.parametrize("at", [1, 2, 3], ids=lambda at: f"request {at}")
def test_images_are_prepared_again_when_a_model_of_another_shape_takes_over(
    at: int, ask: Ask, scripted: ScriptedServer
) -> None:
    scripted.script = [*[succeed] * at, taking_over(scripted, shape=(24, 12))]
    predictions = ask(scripted.target, "classify_many", drawings(15))
    assert len(predictions) == 15
    assert predictions[-1].model.version == "2"
    assert predictions[-1].input.shape == (24, 12)


REFILLED: dict[str, Callable[[Images], Any]] = {
    "array": lambda page: page,
    "view": lambda page: page[::-1, ::-1],
    "colours": lambda page: np.repeat(page[:, :, None], 3, axis=2),
    "PIL image": Image.fromarray,
}
"""Images that a caller may fill again."""


@pytest.mark.parametrize("kind", REFILLED)
def test_what_the_caller_refills_is_prepared_again_as_it_was(kind: str, ask: Ask, scripted: ScriptedServer) -> None:
    buffer = REFILLED[kind](drawings(1)[0].copy())
    pages = drawings(3)
    for page, end in zip(pages, (14, 20, 26), strict=True):
        page[end:] = 255  # bars of different lengths

    def refill() -> Iterator[Any]:
        for page in pages:
            latest = REFILLED[kind](page)
            if isinstance(buffer, Image.Image):
                buffer.paste(latest)
            else:
                buffer[:] = latest
            yield buffer

    scripted.script = [succeed, taking_over(scripted, shape=(24, 12))]
    ask(scripted.target, "classify_many", refill())
    sent = np.frombuffer(scripted.classified[-1].pixels.data, np.uint8).reshape(3, 24, 12)
    expected = [prepare(REFILLED[kind](page), shape=(24, 12)) for page in pages]
    np.testing.assert_array_equal(sent, expected)
    assert len(np.unique(sent, axis=0)) == 3


def test_images_too_large_to_be_kept_end_in_the_servers_refusal(scripted: ScriptedServer) -> None:
    Image.fromarray(drawings(1)[0]).save(file := BytesIO(), "PNG")
    large = file.getvalue() + bytes(KEPT_BYTES)
    scripted.script = [succeed, taking_over(scripted, shape=(24, 12))]
    with Client(scripted.target) as client, pytest.raises(InvalidRequestError, match="wrong shape"):
        list(client.classify_many([large]))


def test_a_smaller_limit_of_images_cuts_the_batches_anew(ask: Ask, scripted: ScriptedServer, images: Images) -> None:
    refused = []

    def shrink(request: Any, context: grpc.ServicerContext) -> None:
        refused.append(request)
        scripted.limits.max_images = 2
        fail(grpc.StatusCode.INVALID_ARGUMENT, "too many", (error_info("TOO_MANY_IMAGES"),))(request, context)

    scripted.script = [succeed, shrink]
    assert many(scripted, images, ask) == list(range(10))
    again = [request for request in scripted.classified if request.pixels.data in refused[0].pixels.data]
    again.remove(refused[0])  # others may arrive behind its parts, though they left before
    assert again
    assert max(map(count_of, again)) <= 2
