"""Answers of calls that are sent again in the background: they always come, and a cancelled call stays ended."""

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any

import grpc
import pytest
from support.serving import PATIENCE_SECONDS

from vitrine.client.sync_resending import Resent


class Failure(grpc.RpcError):
    """The end of an attempt."""


class Attempts:
    """Attempts of a call, which end when the test says so."""

    def __init__(self) -> None:
        self.begun: list[Future[str]] = []
        self.threads: list[threading.Thread] = []
        self.hold = threading.Event()
        self.hold.set()
        self.entered = threading.Event()

    def begin(self) -> Any:
        attempt: Future[str] = Future()
        self.begun.append(attempt)
        self.threads.append(threading.current_thread())
        self.entered.set()
        assert self.hold.wait(PATIENCE_SECONDS)
        return attempt


def resent(attempts: Attempts, pause: Callable[..., float | None] = lambda *_: 0.0) -> Resent[str]:
    return Resent(attempts.begin, pause, lambda _: None)


def test_a_call_is_sent_again_in_the_background() -> None:
    attempts = Attempts()
    answer = resent(attempts)
    attempts.entered.clear()
    attempts.begun[0].set_exception(Failure())
    assert attempts.entered.wait(PATIENCE_SECONDS)
    attempts.begun[1].set_result("answered")
    assert answer.result(PATIENCE_SECONDS) == "answered"


def test_a_call_that_is_cancelled_while_it_is_sent_again_ends_with_that_attempt() -> None:
    attempts = Attempts()
    answer = resent(attempts)
    attempts.entered.clear()
    attempts.hold.clear()
    attempts.begun[0].set_exception(Failure())
    assert attempts.entered.wait(PATIENCE_SECONDS)
    assert answer.cancel()
    attempts.hold.set()
    attempts.threads[1].join(PATIENCE_SECONDS)
    assert attempts.begun[1].cancelled()
    with pytest.raises(CancelledError):
        answer.result(PATIENCE_SECONDS)


def test_a_call_that_is_cancelled_in_its_pause_is_not_sent_again() -> None:
    attempts, pausing, over = Attempts(), threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def wait(_: float) -> None:
        threads.append(threading.current_thread())
        pausing.set()
        assert over.wait(PATIENCE_SECONDS)

    answer: Resent[str] = Resent(attempts.begin, lambda *_: 0.0, wait)
    attempts.begun[0].set_exception(Failure())
    assert pausing.wait(PATIENCE_SECONDS)
    assert answer.cancel()
    over.set()
    threads[0].join(PATIENCE_SECONDS)
    assert len(attempts.begun) == 1


def test_a_failure_without_a_thread_to_send_again_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise MemoryError("no room for a stack")

    attempts = Attempts()
    answer = resent(attempts)
    monkeypatch.setattr(threading.Thread, "start", start)
    attempts.begun[0].set_exception(Failure("the server has died"))
    with pytest.raises(Failure, match="the server has died") as caught:
        answer.result(PATIENCE_SECONDS)
    assert caught.value.__notes__ == ["it wasn't sent again: no room for a stack"]


def test_an_attempt_that_ends_in_another_way_ends_the_call() -> None:
    attempts = Attempts()
    answer = resent(attempts)
    attempts.begun[0].set_exception(MemoryError("no room for the answer"))
    with pytest.raises(MemoryError, match="no room for the answer"):
        answer.result(PATIENCE_SECONDS)
