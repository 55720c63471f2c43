"""Calls are sent again after a failure that another attempt may mend, even behind the head of an answer.

gRPC's own retries end with that head. A relay breaks connections there; a scripted server ends calls there.
"""

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from client.conftest import Ask
from client.cutting import CuttingRelay, cutting
from client.scripted import PATIENCE_SECONDS, ScriptedServer, Step, succeed
from client.test_tracing import ids, spans
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from vitrine.client import (
    AsyncClient,
    CallCancelledError,
    Client,
    LimitError,
    Prediction,
    ServerError,
    ServiceError,
    UnavailableError,
)
from vitrine.client.connection import CallOptions, Connection, Metadata, call_options, channel_options
from vitrine.client.resending import FIRST_PAUSE_SECONDS, JITTER, PUSHBACK_KEY, Resending

Images = npt.NDArray[np.uint8]

__all__ = ["spans"]

RETRIES = 4
LONG_MS = str(2000 * PATIENCE_SECONDS)
"""A pause that no test waits for to its end."""


def fail_behind_the_head(code: grpc.StatusCode, pushback: str | None = None) -> Step:
    """Sends the head of an answer, and then a status; with a server's word on when to send the call again."""

    def step(_request: Any, context: grpc.ServicerContext) -> None:
        context.send_initial_metadata((("x-head", "here"),))
        if pushback is not None:
            context.set_trailing_metadata(((PUSHBACK_KEY, pushback),))
        context.abort(code, "told to")

    return step


UNAVAILABLE = fail_behind_the_head(grpc.StatusCode.UNAVAILABLE)


@pytest.fixture
def relay(scripted: ScriptedServer) -> Iterator[CuttingRelay]:
    """A relay to the scripted server, whose first connection it breaks behind the head of the first answer."""
    with cutting(scripted.target) as relay:
        relay.cut()
        yield relay


def break_off(relay: CuttingRelay) -> Step:
    """Breaks the connection behind the head of the call's answer."""

    def step(_request: Any, _context: grpc.ServicerContext) -> None:
        relay.cut()

    return step


@pytest.mark.parametrize("method", ["model", "models", "health"])
def test_a_call_whose_server_dies_behind_the_head_of_its_answer_is_sent_again(
    method: str, ask: Ask, relay: CuttingRelay, scripted: ScriptedServer
) -> None:
    assert ask(relay.target, method)
    assert len(scripted.requests) == 2


def test_parameters_are_asked_for_again(ask: Ask, relay: CuttingRelay, scripted: ScriptedServer) -> None:
    assert ask(relay.target, "parameters", "linear_1").weight.shape == (3, 3)
    assert len(scripted.requests) == 2


@pytest.mark.parametrize("preparation", ["none", "server"])  # those of files travel alone
def test_an_image_is_sent_again(preparation: str, ask: Ask, relay: CuttingRelay, scripted: ScriptedServer) -> None:
    scripted.script = [succeed, succeed, break_off(relay)]  # beside the description's first answer
    image: Any = np.full((18, 18), 7, np.uint8) if preparation == "none" else bytes([7])
    assert ask(relay.target, "classify", image, preparation=preparation).digit == 7
    assert (len(scripted.lookups), scripted.sizes) == (2, [1, 1])


def test_each_request_of_many_images_is_sent_again(
    ask: Ask, relay: CuttingRelay, scripted: ScriptedServer, images: Images
) -> None:
    scripted.script = [succeed, succeed, succeed, break_off(relay)]
    predictions = ask(relay.target, "classify_many", images, preparation="none")
    assert [int(prediction.digit) for prediction in predictions] == list(range(10))
    assert len(scripted.classified) > 3  # something was broken off
    assert {request.pixels.data for request in scripted.classified} == {
        images[begin : begin + 4].tobytes() for begin in (0, 4, 8)
    }


def test_attempts_end(ask: Ask, scripted: ScriptedServer) -> None:
    scripted.script = [UNAVAILABLE] * 9
    with pytest.raises(UnavailableError):
        ask(scripted.target, "model", options={"retries": 2})
    assert len(scripted.requests) == 3


def test_attempts_end_in_the_background_too(ask: Ask, scripted: ScriptedServer, images: Images) -> None:
    scripted.script = [succeed, *[UNAVAILABLE] * 9]
    with pytest.raises(UnavailableError):
        ask(scripted.target, "classify_many", images[:4], preparation="none", options={"retries": 1})
    assert scripted.sizes == [4, 4]


def test_without_retries_nothing_is_sent_again(ask: Ask, relay: CuttingRelay, scripted: ScriptedServer) -> None:
    with pytest.raises(UnavailableError):
        ask(relay.target, "model", options={"retries": 0})
    assert len(scripted.requests) == 1


def test_grpc_adds_no_attempts_of_its_own() -> None:
    assert "retryPolicy" not in str(dict(channel_options(Connection("dns:///localhost:1")))["grpc.service_config"])


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (fail_behind_the_head(grpc.StatusCode.RESOURCE_EXHAUSTED), LimitError),
        (fail_behind_the_head(grpc.StatusCode.UNKNOWN), ServerError),
        (fail_behind_the_head(grpc.StatusCode.INTERNAL, "-1"), ServerError),
        (fail_behind_the_head(grpc.StatusCode.UNAVAILABLE, "-1"), UnavailableError),
    ],
)
def test_a_failure_that_another_attempt_wont_mend_stands(
    step: Step, error: type[ServiceError], ask: Ask, scripted: ScriptedServer
) -> None:
    scripted.script = [step]
    with pytest.raises(error, match="told to"):
        ask(scripted.target, "model")
    assert len(scripted.requests) == 1


def test_a_call_whose_pause_ends_beyond_its_deadline_fails_at_once(ask: Ask, scripted: ScriptedServer) -> None:
    scripted.script = [fail_behind_the_head(grpc.StatusCode.UNAVAILABLE, LONG_MS)]
    with pytest.raises(UnavailableError):
        ask(scripted.target, "model", timeout=PATIENCE_SECONDS)
    assert len(scripted.requests) == 1


def test_all_attempts_have_one_deadline(ask: Ask, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts: list[float] = []

    def noted(connection: Connection, timeout: float, trace: Metadata) -> CallOptions:
        timeouts.append(timeout)
        return call_options(connection, timeout, trace)

    monkeypatch.setattr("vitrine.client.base.call_options", noted)
    scripted.script = [UNAVAILABLE]
    ask(scripted.target, "model", timeout=PATIENCE_SECONDS)
    first, second = timeouts
    assert second < first - FIRST_PAUSE_SECONDS / 2 <= PATIENCE_SECONDS  # the pause is part of the time


def test_a_call_is_one_span_for_all_its_attempts(
    ask: Ask, scripted: ScriptedServer, images: Images, spans: InMemorySpanExporter
) -> None:
    scripted.script = [UNAVAILABLE, succeed, UNAVAILABLE]
    assert len(ask(scripted.target, "classify_many", images[:4], preparation="none")) == 4
    described, classified = spans.get_finished_spans()
    assert described.status.is_unset
    assert classified.status.is_unset
    carried = [str(sent["traceparent"]).split("-")[2] for sent in scripted.metadata]
    assert carried == [ids(described)[1]] * 2 + [ids(classified)[1]] * 2


@pytest.fixture
def pausing(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the second call pauses before another attempt, for longer than any test takes."""
    begun, rule = threading.Event(), Resending.pause

    def pause(resending: Resending, error: grpc.RpcError, seconds_left: float) -> float | None:
        begun.set()
        return rule(resending, error, seconds_left)

    monkeypatch.setattr(Resending, "pause", pause)
    scripted.script = [succeed, fail_behind_the_head(grpc.StatusCode.UNAVAILABLE, LONG_MS)]
    return begun


def test_closing_ends_the_pauses_of_calls(scripted: ScriptedServer, images: Images, pausing: threading.Event) -> None:
    with ThreadPoolExecutor() as threads, Client(scripted.target, timeout=math.inf) as client:
        client.model()
        alone = threads.submit(client.classify, images[0], preparation="none")
        assert pausing.wait(PATIENCE_SECONDS)
        client.close()
        with pytest.raises(CallCancelledError, match="the client was closed"):
            alone.result(PATIENCE_SECONDS)


def test_closing_ends_the_pauses_of_predictions(
    scripted: ScriptedServer, images: Images, pausing: threading.Event
) -> None:
    with ThreadPoolExecutor() as threads, Client(scripted.target, timeout=math.inf) as client:
        coming = threads.submit(list, client.classify_many(images[:4], preparation="none"))
        assert pausing.wait(PATIENCE_SECONDS)
        client.close()
        with pytest.raises(CallCancelledError, match="the client was closed"):
            coming.result(PATIENCE_SECONDS)


@asynccontextmanager
async def a_task_in_its_pause(
    server: ScriptedServer, images: Images, pausing: threading.Event
) -> AsyncIterator[tuple[AsyncClient, "asyncio.Task[Prediction]"]]:
    """A client, and a task of it that pauses between two attempts."""
    async with AsyncClient(server.target, timeout=math.inf) as client:
        await client.model()
        alone = asyncio.create_task(client.classify(images[0], preparation="none"))
        assert await asyncio.to_thread(pausing.wait, PATIENCE_SECONDS)
        yield client, alone


async def test_closing_ends_the_pauses_of_tasks(
    scripted: ScriptedServer, images: Images, pausing: threading.Event
) -> None:
    async with a_task_in_its_pause(scripted, images, pausing) as (client, alone):
        await client.close()
        with pytest.raises(CallCancelledError, match="the client was closed"):
            await asyncio.wait_for(alone, PATIENCE_SECONDS)


async def test_a_task_that_is_cancelled_in_its_pause_ends_there(
    scripted: ScriptedServer, images: Images, pausing: threading.Event
) -> None:
    async with a_task_in_its_pause(scripted, images, pausing) as (_, alone):
        alone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(alone, PATIENCE_SECONDS)
    assert scripted.sizes == [1]


async def test_closing_ends_a_request_that_has_not_gone_yet(scripted: ScriptedServer, images: Images) -> None:
    async with AsyncClient(scripted.target) as client:
        await client.model()
        closing: list[asyncio.Task[None]] = []

        def closed_before_the_second() -> Iterator[npt.NDArray[np.uint8]]:
            yield images[0]  # travels alone
            closing.append(asyncio.create_task(client.close()))  # its first step comes before the request's
            yield images[1]

        predictions = client.classify_many(closed_before_the_second(), preparation="none")
        assert (await anext(predictions)).digit == 0
        with pytest.raises(CallCancelledError, match="the client was closed"):
            await asyncio.wait_for(anext(predictions), PATIENCE_SECONDS)
        await asyncio.wait_for(closing[0], PATIENCE_SECONDS)
    assert scripted.sizes == [1]


class Failure(grpc.RpcError):
    """A failed attempt."""

    def __init__(self, code: grpc.StatusCode, pushback: str | bytes | None = None, text: str = "") -> None:
        self._code, self._pushback, self._text = code, pushback, text

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._text

    def trailing_metadata(self) -> Any:
        return () if self._pushback is None else ((PUSHBACK_KEY, self._pushback),)


def pauses_of_a_call(*pushbacks: str | None) -> list[float]:
    """The pauses of a call after failures, some of them with the server's word on the pause."""
    resending = Resending(len(pushbacks))
    failures = [Failure(grpc.StatusCode.UNAVAILABLE, pushback) for pushback in pushbacks]
    return [resending.pause(failure, math.inf) or 0 for failure in failures]


@pytest.mark.parametrize(("failed", "seconds"), [(0, 0.1), (1, 0.2), (2, 0.4), (3, 0.8), (4, 1), (9, 1)])
def test_pauses_double_up_to_a_second(failed: int, seconds: float) -> None:
    pauses = [pauses_of_a_call(*[None] * (failed + 1))[-1] for _ in range(100)]
    assert seconds * (1 - JITTER) <= min(pauses) < max(pauses) <= seconds * (1 + JITTER)


def test_pauses_begin_anew_behind_one_that_the_server_named() -> None:
    *_, named, first, second = pauses_of_a_call(None, None, None, "5000", None, None)
    assert named == 5
    assert first <= FIRST_PAUSE_SECONDS * (1 + JITTER) < FIRST_PAUSE_SECONDS * 2 * (1 - JITTER) <= second


def test_a_pause_of_the_servers_takes_an_attempt_too() -> None:
    resending, failure = Resending(1), Failure(grpc.StatusCode.UNAVAILABLE, "0")
    assert resending.pause(failure, math.inf) == 0
    assert resending.pause(failure, math.inf) is None


@pytest.mark.parametrize(
    ("pushback", "pause"),
    [("0", 0.0), ("250", 0.25), (b"250", 0.25), ("-1", None), ("soon", None), ("", None), ("9" * 99, None)],
)
def test_a_servers_word_on_the_pause_counts(pushback: str | bytes, pause: float | None) -> None:
    assert Resending(RETRIES).pause(Failure(grpc.StatusCode.UNAVAILABLE, pushback), math.inf) == pause


@pytest.mark.parametrize("code", grpc.StatusCode)
def test_few_statuses_are_worth_another_attempt(code: grpc.StatusCode) -> None:
    pause = Resending(RETRIES).pause(Failure(code), math.inf)
    assert (pause is not None) == (code.name in ("UNAVAILABLE", "CANCELLED", "INTERNAL"))


def test_a_message_that_cant_be_read_here_isnt_asked_for_again() -> None:
    unreadable = Failure(grpc.StatusCode.INTERNAL, text="Exception deserializing response!")
    assert Resending(RETRIES).pause(unreadable, math.inf) is None
