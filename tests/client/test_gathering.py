"""Concurrent calls for single images travel together, and each keeps what is its own.

The scripted server holds the first requests back, so that what comes meanwhile must wait for them.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from client.cutting import CuttingRelay, cutting
from client.scripted import PATIENCE_SECONDS, ScriptedServer, bad_field, fail, retry_info, succeed
from client.test_tracing import carried, ids, spans
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.artifacts import random_pixels
from support.serving import RunningServer

from vitrine.client import (
    AsyncClient,
    CallCancelledError,
    Client,
    DeadlineError,
    InvalidRequestError,
    LimitError,
    Prediction,
    UnavailableError,
    UsageError,
)
from vitrine.client.async_gathering import AsyncGatherer

Images = npt.NDArray[np.uint8]

__all__ = ["spans"]


HELD = 2
"""Number of requests that a gate holds back, beside which no other may leave."""


def page(first: int) -> Images:
    """Pixels that the scripted server answers with this class."""
    return np.full((18, 18), first, np.uint8)


class Gate:
    """Holds the first requests of a scripted server back until all of a group's calls are there."""

    def __init__(self, scripted: ScriptedServer, *then: Callable[[Any, grpc.ServicerContext], None]) -> None:
        self._arrived, self._open = threading.Semaphore(0), threading.Event()
        self._answered = threading.Semaphore(0)
        scripted.limits.max_images = 100
        scripted.script = [succeed, *[self._hold] * HELD, *then]

    def _hold(self, _request: Any, _context: grpc.ServicerContext) -> None:
        self._arrived.release()
        assert self._open.wait(PATIENCE_SECONDS)

    def wait_until_full(self) -> None:
        """Waits until as many requests are under way as may be."""
        for _ in range(HELD):
            assert self._arrived.acquire(timeout=PATIENCE_SECONDS)

    def open(self) -> None:
        """Lets the first requests go on."""
        self._open.set()

    def note_answer(self, _call: object) -> None:
        """Notes that the call of one of the first requests has its whole answer."""
        self._answered.release()

    def wait_until_answered(self) -> None:
        """Waits until the calls of the first requests have their answers."""
        for _ in range(HELD):
            assert self._answered.acquire(timeout=PATIENCE_SECONDS)


READY: dict[str, Any] = {"preparation": "none"}

Calls = Sequence[dict[str, Any]]
"""The arguments of some calls of `classify`."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call that waits is sent before an answer has come, however slow this machine is."""
    for module in ("async_gathering", "sync_gathering"):
        monkeypatch.setattr(f"vitrine.client.{module}.MOST_UNDER_WAY", HELD)
        monkeypatch.setattr(f"vitrine.client.{module}.LONGEST_WAIT_SECONDS", PATIENCE_SECONDS)


Together = Callable[[ScriptedServer | CuttingRelay, Gate, Calls], list[Prediction | BaseException]]


def from_tasks(scripted: ScriptedServer | CuttingRelay, gate: Gate, calls: Calls) -> list[Prediction | BaseException]:
    """The outcomes of calls of several tasks that wait for the same answer."""

    async def call() -> list[Prediction | BaseException]:
        async with AsyncClient(scripted.target) as client:
            await client.model()
            before = []
            for _ in range(HELD):
                before.append(asyncio.create_task(client.classify(page(0), preparation="none")))
                before[-1].add_done_callback(gate.note_answer)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            await asyncio.to_thread(gate.wait_until_full)
            waiting = [asyncio.create_task(client.classify(**READY | arguments)) for arguments in calls]
            for _ in range(3):
                await asyncio.sleep(0)
            gate.open()
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            await asyncio.gather(*before, return_exceptions=True)  # they only hold the others back
            return outcomes

    return asyncio.run(call())


def from_threads(scripted: ScriptedServer | CuttingRelay, gate: Gate, calls: Calls) -> list[Prediction | BaseException]:
    """The outcomes of calls of several threads that wait for the same answer."""
    with Client(scripted.target) as client, ThreadPoolExecutor(HELD + len(calls)) as threads:

        def call(arguments: dict[str, Any]) -> Prediction:
            return client.classify(**READY | arguments)

        def all_wait() -> bool:  # or one has waited for longer than its deadline, on a slow machine
            return waiting_calls(client) == len(calls) or any(future.done() for future in waiting)

        client.model()
        before = [threads.submit(call, {"image": page(0)}) for _ in range(HELD)]
        for first in before:
            first.add_done_callback(gate.note_answer)
        gate.wait_until_full()
        waiting = [threads.submit(call, arguments) for arguments in calls]
        wait_for(all_wait)
        gate.open()
        for future in before:
            future.exception()  # they only hold the others back
        return [future.exception() or future.result() for future in waiting]


def waiting_calls(client: Client) -> int:
    return sum(len(group.waiting) for group in client._gatherer._groups._groups.values())


def wait_for(holds: Callable[[], bool]) -> None:
    """Waits until something holds that threads bring about."""
    patience = threading.Event()
    for _ in range(PATIENCE_SECONDS * 1000):
        if holds():
            return
        patience.wait(0.001)
    raise AssertionError("it never held")


@pytest.fixture(params=[from_tasks, from_threads], ids=["AsyncClient", "Client"])
def together(request: pytest.FixtureRequest) -> Together:
    """Has both clients make some calls while as many requests are under way as may be."""
    return request.param  # type: ignore[no-any-return]


def digits(outcomes: Sequence[Prediction | BaseException]) -> list[int]:
    return [outcome.digit for outcome in outcomes if isinstance(outcome, Prediction)]


def test_calls_that_wait_travel_in_one_request(together: Together, scripted: ScriptedServer) -> None:
    outcomes = together(scripted, Gate(scripted), [{"image": page(first)} for first in range(10)])
    assert digits(outcomes) == list(range(10))
    assert sorted(scripted.sizes) == [*[1] * HELD, 10]
    assert len(scripted.lookups) == 1


def test_one_request_holds_no_more_than_the_server_allows(together: Together, scripted: ScriptedServer) -> None:
    gate = Gate(scripted)
    scripted.limits.max_images = 4
    outcomes = together(scripted, gate, [{"image": page(first)} for first in range(10)])
    assert digits(outcomes) == list(range(10))
    assert max(scripted.sizes) == 4


SELECTIONS: list[dict[str, Any]] = [
    {"activations": None},
    {"activations": "relu_1"},
    {"activations": ["relu_1", "softmax"]},
    {"activations": None, "model": "other"},
]


async def test_only_calls_for_the_same_model_and_layers_share_a_request(scripted: ScriptedServer) -> None:
    scripted.limits.max_images = 100
    async with AsyncClient(scripted.target) as client:
        await client.model()
        await client.model("other")
        calls = (client.classify(page(first), preparation="none", **SELECTIONS[first % 4]) for first in range(8))
        predictions = await asyncio.gather(*calls)
    for first, prediction in enumerate(predictions):
        assert prediction.digit == first
        assert list(prediction.activations) == [[], ["relu_1"], ["relu_1", "softmax"], []][first % 4]
        assert all((values == first).all() for values in prediction.activations.values())
    assert scripted.sizes == [2] * 4
    pairs = {(request.model, tuple(request.activations.names)) for request in scripted.classified}
    assert pairs == {("", ()), ("", ("relu_1",)), ("", ("relu_1", "softmax")), ("other", ())}


def test_no_prediction_holds_the_memory_of_the_others(together: Together, scripted: ScriptedServer) -> None:
    calls = [{"image": page(first), "activations": "all"} for first in range(10)]
    for outcome in together(scripted, Gate(scripted), calls):
        assert isinstance(outcome, Prediction)
        for values in (outcome.probabilities, *outcome.activations.values()):
            assert values.base is None
            assert not values.flags.writeable


def refuse(first: int, *details: Any) -> Callable[[Any, grpc.ServicerContext], None]:
    """Refuses a request with this image in it."""

    def step(request: Any, context: grpc.ServicerContext) -> None:
        pixels = np.frombuffer(request.pixels.data, np.uint8).reshape(-1, 324)
        if first in pixels[:, 0]:
            fail(grpc.StatusCode.INVALID_ARGUMENT, f"not {first}", details)(request, context)

    return step


def test_an_error_of_one_image_reaches_only_its_call(together: Together, scripted: ScriptedServer) -> None:
    gate = Gate(scripted, *[refuse(3, bad_field("pixels"))] * 20)
    outcomes = together(scripted, gate, [{"image": page(first)} for first in range(10)])
    assert digits(outcomes) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert isinstance(outcomes[3], InvalidRequestError)
    assert str(outcomes[3]) == "not 3"


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", (retry_info(2),)), LimitError),
        (fail(grpc.StatusCode.UNAUTHENTICATED, "no token"), Exception),
        (fail(grpc.StatusCode.NOT_FOUND, "gone"), Exception),
    ],
    ids=["busy", "token", "model"],
)
def test_an_error_that_concerns_all_reaches_all_and_nothing_is_sent_again(
    step: Any, kind: type[Exception], together: Together, scripted: ScriptedServer
) -> None:
    outcomes = together(scripted, Gate(scripted, step), [{"image": page(first)} for first in range(5)])
    assert all(isinstance(outcome, kind) for outcome in outcomes)
    assert len({id(outcome) for outcome in outcomes}) == 5
    assert all(outcome.__cause__ is not None for outcome in outcomes if isinstance(outcome, BaseException))
    assert sorted(scripted.sizes) == [*[1] * HELD, 5]


def test_a_request_whose_server_dies_behind_the_head_of_its_answer_is_sent_again_whole(
    together: Together, scripted: ScriptedServer
) -> None:
    with cutting(scripted.target) as relay:

        def break_off(_request: Any, _context: grpc.ServicerContext) -> None:
            gate.wait_until_answered()  # or the end of an answer before could be cut off, too
            relay.cut()

        gate = Gate(scripted, break_off)
        outcomes = together(relay, gate, [{"image": page(first)} for first in (1, 2, 3)])
    assert digits(outcomes) == [1, 2, 3]
    assert scripted.sizes == [1] * HELD + [3, 3]


def test_a_model_of_another_shape_that_takes_over_is_asked_for_once(
    together: Together, scripted: ScriptedServer
) -> None:
    def take_over(request: Any, context: grpc.ServicerContext) -> None:
        scripted.model = replace(scripted.model, version="2", shape=(24, 12))

    drawing = np.full((40, 40), 255, np.uint8)
    drawing[8:32, 16:22] = 0
    gate = Gate(scripted, take_over)
    outcomes = together(scripted, gate, [{"image": drawing, "preparation": "local"}] * 6)
    assert [outcome.model.version for outcome in outcomes if isinstance(outcome, Prediction)] == ["2"] * 6
    assert len(scripted.lookups) < 6


def test_a_new_version_answers_calls_that_were_made_for_the_old_one(
    together: Together, scripted: ScriptedServer
) -> None:
    def take_over(request: Any, context: grpc.ServicerContext) -> None:
        scripted.model = replace(scripted.model, version="2", digest="b")

    scripted.model = replace(scripted.model, digest="a")
    outcomes = together(scripted, Gate(scripted, take_over), [{"image": page(first)} for first in range(6)])
    assert digits(outcomes) == list(range(6))
    assert {outcome.model.version for outcome in outcomes if isinstance(outcome, Prediction)} == {"2"}


def test_a_short_deadline_ends_its_own_call_only(together: Together, scripted: ScriptedServer) -> None:
    def outlast(request: Any, context: grpc.ServicerContext) -> None:
        assert context.time_remaining() > 1
        threading.Event().wait(1.5)  # longer than the short deadline: it must be over before the answer

    calls: list[dict[str, Any]] = [{"image": page(first)} for first in range(5)]
    calls[2]["timeout"] = 1.0
    outcomes = together(scripted, Gate(scripted, outlast), calls)
    assert digits(outcomes) == [0, 1, 3, 4]
    assert isinstance(outcomes[2], DeadlineError)
    assert "within 1 s" in str(outcomes[2])


async def test_calls_of_one_turn_of_the_loop_travel_together(scripted: ScriptedServer) -> None:
    scripted.limits.max_images = 100
    async with AsyncClient(scripted.target) as client:
        await client.model()
        calls = (client.classify(page(first), preparation="none") for first in range(10))
        assert digits(await asyncio.gather(*calls)) == list(range(10))
    assert scripted.sizes == [10]


async def test_many_calls_of_one_turn_are_divided_over_the_requests_that_may_leave(scripted: ScriptedServer) -> None:
    scripted.limits.max_images = 100
    async with AsyncClient(scripted.target) as client:
        await client.model()
        calls = (client.classify(page(at % 10), preparation="none") for at in range(91))
        assert digits(await asyncio.gather(*calls)) == [at % 10 for at in range(91)]
    assert sorted(scripted.sizes) == [45, 46]


@pytest.mark.parametrize(("calls", "sizes"), [(63, [63]), (64, [32, 32])])
async def test_each_part_of_divided_calls_is_worth_its_request(
    calls: int, sizes: list[int], scripted: ScriptedServer
) -> None:
    scripted.limits.max_images = 100
    async with AsyncClient(scripted.target) as client:
        await client.model()
        await asyncio.gather(*(client.classify(page(0), preparation="none") for _ in range(calls)))
    assert scripted.sizes == sizes


async def test_a_cancelled_call_takes_nothing_from_the_others(scripted: ScriptedServer) -> None:
    scripted.limits.max_images = 100
    held, go_on = threading.Event(), threading.Event()

    def hold(request: Any, context: grpc.ServicerContext) -> None:
        held.set()
        assert go_on.wait(PATIENCE_SECONDS)

    async with AsyncClient(scripted.target) as client:
        await client.model()
        scripted.script = [hold]
        tasks = [asyncio.create_task(client.classify(page(first), preparation="none")) for first in range(6)]
        assert await asyncio.to_thread(held.wait, PATIENCE_SECONDS)
        tasks[4].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[4]
        go_on.set()
        assert digits(await asyncio.gather(*tasks[:4], tasks[5])) == [0, 1, 2, 3, 5]
    assert scripted.sizes == [6]


async def test_a_call_that_is_cancelled_as_its_time_is_over_leaves_once(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, expire, calls = threading.Event(), AsyncGatherer._expire, list[asyncio.Task[Prediction]]()

    def expire_and_cancel(gatherer: AsyncGatherer, *seat: Any) -> None:
        expire(gatherer, *seat)
        calls[0].cancel()

    def hold(request: Any, context: grpc.ServicerContext) -> None:
        assert go_on.wait(PATIENCE_SECONDS)

    monkeypatch.setattr(AsyncGatherer, "_expire", expire_and_cancel)
    async with AsyncClient(scripted.target) as client:
        await client.model()
        scripted.script = [hold]
        for seconds in (0.2, 2 * PATIENCE_SECONDS):
            calls.append(asyncio.create_task(client.classify(page(7), preparation="none", timeout=seconds)))
        with pytest.raises(asyncio.CancelledError):
            await calls[0]
        await asyncio.sleep(0)  # what it has left would be cancelled now
        go_on.set()
        assert (await calls[1]).digit == 7


async def test_a_request_that_all_callers_have_left_is_cancelled(scripted: ScriptedServer) -> None:
    held, left = threading.Event(), threading.Event()

    def hold(request: Any, context: grpc.ServicerContext) -> None:
        assert context.add_callback(left.set)
        held.set()
        assert left.wait(PATIENCE_SECONDS)

    async with AsyncClient(scripted.target) as client:
        await client.model()
        scripted.script = [hold]
        tasks = [asyncio.create_task(client.classify(page(first), preparation="none")) for first in range(4)]
        assert await asyncio.to_thread(held.wait, PATIENCE_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await asyncio.to_thread(left.wait, PATIENCE_SECONDS)


async def test_a_request_that_all_callers_have_left_before_it_goes_makes_room(scripted: ScriptedServer) -> None:
    async with AsyncClient(scripted.target) as client:
        await client.model()
        for _ in range(HELD):
            call = asyncio.create_task(client.classify(page(1), preparation="none"))
            await asyncio.sleep(0)  # its first step: its request is to leave in the loop's next turn
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        following = client.classify(page(7), preparation="none")  # else it would wait for answers that never come
        assert (await asyncio.wait_for(following, PATIENCE_SECONDS / 2)).digit == 7
    assert scripted.sizes == [1]


async def test_closing_ends_a_request_that_has_not_gone_yet(scripted: ScriptedServer) -> None:
    client = AsyncClient(scripted.target)
    await client.model()
    calls = [asyncio.create_task(client.classify(page(1), preparation="none")) for _ in range(2)]
    await asyncio.sleep(0)  # their first steps
    await asyncio.sleep(0)  # their request gets its task
    await client.close()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, CallCancelledError) for outcome in outcomes)
    assert scripted.sizes == []


async def test_closing_ends_calls_under_way_and_calls_that_wait(scripted: ScriptedServer) -> None:
    gate = Gate(scripted)
    client = AsyncClient(scripted.target)
    await client.model()
    tasks = []
    for first in range(HELD + 3):
        tasks.append(asyncio.create_task(client.classify(page(first), preparation="none")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await asyncio.to_thread(gate.wait_until_full)
    await client.close()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    gate.open()
    assert all(isinstance(outcome, CallCancelledError) for outcome in outcomes)
    with pytest.raises(UsageError, match="closed"):
        await client.classify(page(0), preparation="none")


def test_closing_ends_calls_of_other_threads(scripted: ScriptedServer) -> None:
    gate = Gate(scripted)
    client = Client(scripted.target)
    client.model()
    with ThreadPoolExecutor(HELD + 3) as threads:
        calls = [threads.submit(client.classify, page(1), preparation="none") for _ in range(HELD + 3)]
        gate.wait_until_full()
        wait_for(lambda: waiting_calls(client) == 3)
        client.close()
        errors = [call.exception(PATIENCE_SECONDS) for call in calls]
        gate.open()
    assert all(isinstance(error, CallCancelledError) for error in errors)


def test_a_server_that_hangs_holds_no_other_call_up(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrine.client.sync_gathering.LONGEST_WAIT_SECONDS", 0.01)
    gate = Gate(scripted)
    with Client(scripted.target) as client, ThreadPoolExecutor(HELD) as threads:
        client.model()
        held = [threads.submit(client.classify, page(1), preparation="none") for _ in range(HELD)]
        gate.wait_until_full()
        assert client.classify(page(7), preparation="none").digit == 7
        gate.open()
        assert [call.result(PATIENCE_SECONDS).digit for call in held] == [1] * HELD


async def test_a_server_that_hangs_holds_no_other_task_up(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrine.client.async_gathering.LONGEST_WAIT_SECONDS", 0.01)
    gate = Gate(scripted)
    async with AsyncClient(scripted.target) as client:
        await client.model()
        held = []
        for _ in range(HELD):
            held.append(asyncio.create_task(client.classify(page(1), preparation="none")))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await asyncio.to_thread(gate.wait_until_full)
        assert (await client.classify(page(7), preparation="none")).digit == 7
        gate.open()
        assert digits(await asyncio.gather(*held)) == [1] * HELD


def test_a_shared_request_is_linked_from_each_callers_span(
    together: Together, scripted: ScriptedServer, spans: InMemorySpanExporter
) -> None:
    together(scripted, Gate(scripted), [{"image": page(first)} for first in range(4)])
    (shared,) = [
        i
        for i, request in enumerate(scripted.requests)
        if getattr(request, "pixels", None) and request.pixels.shape[:1] == [4]
    ]
    found = spans.get_finished_spans()
    (carrying,) = [span for span in found if ids(span) == carried(scripted.metadata[shared])]
    linked = [span for span in found if any(link.context == carrying.get_span_context() for link in span.links)]
    assert len(linked) == 3
    assert all(span.kind is trace.SpanKind.CLIENT for span in linked)


def test_calls_that_need_the_same_description_ask_once(scripted: ScriptedServer) -> None:
    async def first_calls() -> list[Prediction]:
        async with AsyncClient(scripted.target) as client:
            return await asyncio.gather(*(client.classify(page(i), preparation="none") for i in range(4)))

    assert digits(asyncio.run(first_calls())) == [0, 1, 2, 3]
    assert scripted.lookups == [""]


def test_files_that_the_server_prepares_travel_alone(scripted: ScriptedServer) -> None:
    async def calls() -> list[Prediction]:
        async with AsyncClient(scripted.target) as client:
            files = [bytes([first]) * 20 for first in range(4)]
            return await asyncio.gather(*(client.classify(file, preparation="server") for file in files))

    assert digits(asyncio.run(calls())) == [0, 1, 2, 3]
    assert scripted.sizes == [1] * 4


def test_many_threads_with_different_wishes_get_what_each_gets_alone(server: RunningServer) -> None:
    images = random_pixels(60)
    wishes = [None, "all", "relu_1", ["linear_1", "softmax"], ("relu_2",)]
    with Client(server.target) as client, ThreadPoolExecutor(32) as threads:

        def call(at: int) -> Prediction:
            return client.classify(images[at % 60], activations=wishes[at % 5], preparation="none")

        alone = [call(at) for at in range(60)]
        found = list(threads.map(call, range(1200)))
    for at, prediction in enumerate(found):
        assert_same(prediction, alone[at % 60])


async def test_many_tasks_get_what_each_gets_alone(server: RunningServer) -> None:
    images = random_pixels(64)
    async with AsyncClient(server.target) as client:
        alone = [await client.classify(image, preparation="none") for image in images]
        calls = (client.classify(images[at % 64], preparation="none") for at in range(1000))
        found = await asyncio.gather(*calls)
    for at, prediction in enumerate(found):
        assert_same(prediction, alone[at % 64])


def assert_same(one: Prediction, other: Prediction) -> None:
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-4)
    assert list(one.activations) == list(other.activations)
    for name, values in one.activations.items():
        np.testing.assert_allclose(values, other.activations[name], atol=1e-4)


async def test_a_server_that_has_gone_fails_every_call(scripted: ScriptedServer) -> None:
    async with AsyncClient(scripted.target, retries=0) as client:
        await client.model()
        scripted.script = [fail(grpc.StatusCode.UNAVAILABLE)] * 9
        calls = (client.classify(page(0), preparation="none") for _ in range(5))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, UnavailableError) for outcome in outcomes)
    assert sorted(scripted.sizes) == [1, 4]
