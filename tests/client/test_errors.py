"""How failed calls become errors: the class, the code, the reason, the field, and a sentence that helps."""

import asyncio
import itertools
import pickle
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import grpc
import numpy as np
import pytest
from client.conftest import Ask
from client.scripted import (
    ScriptedServer,
    Step,
    bad_field,
    error_info,
    fail,
    retry_info,
    succeed,
    wait_for_the_client_to_leave,
)

from vitrine.client import (
    AsyncClient,
    AuthenticationError,
    CallCancelledError,
    Client,
    DeadlineError,
    InvalidRequestError,
    LimitError,
    ServiceError,
    UnavailableError,
    UsageError,
    VitrineError,
)
from vitrine.client.advice import ADVICE, advise
from vitrine.client.errors import DETAILS_KEY, ERROR_OF_STATUS, read_error

FAILURES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
ONCE: dict[str, Any] = {"retries": 0}


def test_every_status_has_its_error() -> None:
    assert set(ERROR_OF_STATUS) == set(FAILURES)


@pytest.mark.parametrize("code", FAILURES, ids=lambda code: code.name)
def test_each_status_raises_its_error(code: grpc.StatusCode, ask: Ask, scripted: ScriptedServer) -> None:
    scripted.script = [fail(code)]
    with pytest.raises(ERROR_OF_STATUS[code]) as raised:
        ask(scripted.target, "model", options=ONCE)
    assert raised.value.code is code
    assert isinstance(raised.value, VitrineError)
    assert isinstance(raised.value.__cause__, grpc.RpcError)


def test_an_error_has_the_reason_and_the_field_and_the_servers_own_sentence(ask: Ask, scripted: ScriptedServer) -> None:
    details = (error_info("LAYER_UNKNOWN"), bad_field("activations.names[0]"))
    scripted.script = [fail(grpc.StatusCode.INVALID_ARGUMENT, "no layer is called 'relu_9'", details)]
    with pytest.raises(InvalidRequestError) as raised:
        ask(scripted.target, "models")
    assert raised.value.reason == "LAYER_UNKNOWN"
    assert raised.value.field == "activations.names[0]"
    assert str(raised.value) == "no layer is called 'relu_9'"


def test_the_servers_sentence_stands_alone_where_there_is_also_advice(ask: Ask, scripted: ScriptedServer) -> None:
    scripted.script = [fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "wait a second", (error_info("OVERLOADED"),))]
    with pytest.raises(LimitError, match=r"^wait a second$"):
        ask(scripted.target, "models")


def test_a_limit_error_says_when_the_same_request_may_come_again(ask: Ask, scripted: ScriptedServer) -> None:
    details = (error_info("OVERLOADED"), retry_info(1.5))
    scripted.script = [fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "wait a second", details)]
    with pytest.raises(LimitError, match=r"^wait a second$") as raised:
        ask(scripted.target, "models")
    assert raised.value.retry_after == 1.5


def test_a_limit_error_of_something_too_large_says_that_waiting_wont_help(ask: Ask, scripted: ScriptedServer) -> None:
    scripted.script = [fail(grpc.StatusCode.RESOURCE_EXHAUSTED)]
    with pytest.raises(LimitError, match="is too large: ask for fewer") as raised:
        ask(scripted.target, "models")
    assert raised.value.retry_after is None


def test_a_refusal_for_now_without_a_reason_advises_to_wait(ask: Ask, scripted: ScriptedServer) -> None:
    scripted.script = [fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", (retry_info(2),))]
    with pytest.raises(LimitError, match=r"has too much to do: send it again in 2 s \(slow down\)$"):
        ask(scripted.target, "models")


@pytest.mark.parametrize("code", ADVICE, ids=lambda code: code.name)
def test_a_status_of_grpcs_own_comes_with_advice(code: grpc.StatusCode, ask: Ask, scripted: ScriptedServer) -> None:
    scripted.script = [fail(code, "grpc says")]
    with pytest.raises(ServiceError) as raised:
        ask(scripted.target, "model", options=ONCE)
    assert scripted.target in str(raised.value)
    assert str(raised.value).endswith("(grpc says)")
    assert raised.value.reason == raised.value.field == ""


def test_details_that_cant_be_read_are_as_good_as_none() -> None:
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.NOT_FOUND,
        grpc.aio.Metadata(),
        grpc.aio.Metadata((DETAILS_KEY, b"\xff\xff")),
        details="no such model",
    )
    read = read_error(error, "somewhere", 30)
    assert (str(read), read.reason, read.field) == ("no such model", "", "")


def test_a_slow_answer_is_a_deadline_error_that_names_the_time(ask: Ask, scripted: ScriptedServer) -> None:
    scripted.script = [wait_for_the_client_to_leave]
    with pytest.raises(DeadlineError, match=r"within 0\.05 s: give a longer timeout"):
        ask(scripted.target, "model", timeout=0.05)


def test_the_clients_own_deadline_holds_where_a_call_gives_none(ask: Ask, scripted: ScriptedServer) -> None:
    scripted.script = [wait_for_the_client_to_leave]
    with pytest.raises(DeadlineError, match=r"within 0\.05 s"):
        ask(scripted.target, "models", options={"timeout": 0.05})


def test_nobody_listening_is_an_error_that_names_the_target(ask: Ask) -> None:
    with pytest.raises(UnavailableError, match="no server listens at localhost:1: check host and port"):
        ask("localhost:1", "health", options=ONCE)


@contextmanager
def refusing_proxy(answer: bytes) -> Iterator[int]:
    """The port of a proxy that answers every request so; without an answer, of one that has gone."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        if not answer:
            listening.close()
            yield port
            return

        def refuse() -> None:
            with suppress(OSError):  # the test is over
                while True:
                    with listening.accept()[0] as asked:
                        asked.recv(4096)
                        asked.sendall(answer)

        threading.Thread(target=refuse, daemon=True).start()
        yield port


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"], ids=["gone", "refuses"]
)
def test_a_proxy_at_fault_is_named_by_its_variable(answer: bytes, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("grpc_proxy", "https_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with refusing_proxy(answer) as port:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        with pytest.raises(UnavailableError, match=r"^vitrine\.invalid:50051 .* the proxy that http_proxy names"):
            ask("vitrine.invalid:50051", "health", options={"retries": 0})


def test_a_proxy_that_was_not_asked_is_not_blamed(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is never proxied, though the proxy may have the same port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("http_proxy", f"http://proxy.invalid:{taken.getsockname()[1]}")
        with pytest.raises(UnavailableError) as caught:
            ask(target, "health", options={"retries": 0})
    assert "proxy" not in str(caught.value)


def test_a_proxy_without_a_port_is_named_by_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("grpc_proxy", "https_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("http_proxy", "http://corp.invalid")
    said = advise(grpc.StatusCode.UNAVAILABLE, "HTTP proxy returned response code 403", "far.example:50051", 1, None)
    assert "the proxy that http_proxy names" in said


def test_an_answer_over_the_clients_limit_says_what_to_raise(ask: Ask, scripted: ScriptedServer) -> None:
    with pytest.raises(LimitError, match="raise max_message_bytes"):
        ask(scripted.target, "model", options={"max_message_bytes": 10})


def test_an_error_survives_pickling() -> None:
    error = AuthenticationError("no token", grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING", "f", 0.5)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is AuthenticationError
    assert (str(copy), vars(copy)) == ("no token", vars(error))


def test_closing_the_client_ends_a_call_under_way(scripted: ScriptedServer) -> None:
    client = Client(scripted.target)
    scripted.script = [lambda *_: client.close(), wait_for_the_client_to_leave]
    with pytest.raises(CallCancelledError, match="was cancelled"):
        client.model()


@pytest.mark.parametrize("calls", [1, 2], ids=["the description", "the images"])
def test_a_client_that_another_thread_closes_meanwhile_says_so(
    calls: int, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, numbers = Client(scripted.target), itertools.count(1)

    def close_meanwhile(timeout: float | None, _: object) -> dict[str, Any]:
        if next(numbers) == calls:
            client.close()
        return {"timeout": timeout}

    monkeypatch.setattr(client, "_options", close_meanwhile)
    with pytest.raises(UsageError, match="this client is closed"):
        list(client.classify_many(np.zeros((1, 18, 18), np.uint8)))


def test_a_value_error_of_another_cause_stays_one(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(timeout: float | None, _: object) -> None:
        raise ValueError("something else")

    with Client(scripted.target) as client:
        monkeypatch.setattr(client, "_options", break_down)
        with pytest.raises(ValueError, match="something else"):
            client.model()


def test_closing_the_client_ends_its_predictions(scripted: ScriptedServer) -> None:
    client = Client(scripted.target)
    predictions = client.classify_many(np.zeros((5, 18, 18), np.uint8), preparation="none")
    scripted.script = [succeed, lambda *_: client.close(), wait_for_the_client_to_leave]
    with pytest.raises((CallCancelledError, UsageError)):  # the second request may be sent before, or refused
        list(predictions)


def test_predictions_under_way_say_that_their_client_was_closed(scripted: ScriptedServer) -> None:
    client, has_arrived = Client(scripted.target), threading.Event()

    def wait(request: Any, context: grpc.ServicerContext) -> None:
        has_arrived.set()
        wait_for_the_client_to_leave(request, context)

    scripted.script = [succeed, wait]
    with ThreadPoolExecutor(1) as threads:
        work = threads.submit(list, client.classify_many(np.zeros((1, 18, 18), np.uint8), preparation="none"))
        has_arrived.wait()
        client.close()
        with pytest.raises(CallCancelledError, match=r"was cancelled \(the client was closed\)") as raised:
            work.result()
    assert isinstance(raised.value.__cause__, CallCancelledError)


async def describe(client: AsyncClient) -> Any:
    return await client.model()


async def classify_many(client: AsyncClient) -> Any:
    return [digit async for digit in client.classify_many(np.zeros((4, 18, 18), np.uint8), preparation="none")]


@pytest.mark.parametrize("use", [describe, classify_many])
async def test_closing_an_async_client_ends_calls_under_way(
    use: Callable[[AsyncClient], Coroutine[Any, Any, Any]], scripted: ScriptedServer
) -> None:
    under_way = asyncio.Event()
    waiting = arriving_sets(under_way)
    scripted.script = [waiting] if use is describe else [succeed, waiting]
    client = AsyncClient(scripted.target)
    task = asyncio.create_task(use(client))
    await under_way.wait()
    await client.close()
    with pytest.raises(CallCancelledError, match="the client was closed") as raised:
        await task
    assert raised.value.code is grpc.StatusCode.CANCELLED


@pytest.mark.parametrize("is_closed", [False, True], ids=["open", "closed"])
async def test_cancelling_a_task_cancels_it(is_closed: bool, scripted: ScriptedServer) -> None:
    under_way = asyncio.Event()
    scripted.script = [arriving_sets(under_way)]
    client = AsyncClient(scripted.target)
    task = asyncio.create_task(client.model())
    await under_way.wait()
    task.cancel()
    if is_closed:
        await client.close()
    with pytest.raises(asyncio.CancelledError):
        await task
    await client.close()


def arriving_sets(under_way: asyncio.Event) -> Step:
    """A call that says in this event loop that it has arrived, and is never answered."""
    loop = asyncio.get_running_loop()

    def step(request: Any, context: grpc.ServicerContext) -> None:
        loop.call_soon_threadsafe(under_way.set)
        wait_for_the_client_to_leave(request, context)

    return step
