"""One request that is answered: who asks, which stages it goes through and when, what it holds until it is over.

Whoever speaks a protocol makes a call for each request, hands it down with the request, and closes it once the answer
has left or nobody wants it any more. It knows no transport, and neither metrics, traces nor logs: these read it.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from vitrine.server.security.access import NOBODY, Caller


class Stage(StrEnum):
    """What is done with a request, in this order."""

    PREPARE = "prepare"
    """Its image files become pixels."""
    QUEUE = "queue"
    """Its rows wait for a run of the model."""
    BATCH = "batch"
    """They are put together with others'."""
    COMPUTE = "compute"
    """The model runs."""
    ENCODE = "encode"
    """The answer becomes bytes."""

    __hash__ = str.__hash__  # Enum's own is written in Python, and stages are looked up several times for each request


class Passage(NamedTuple):
    """A request's way through a stage; rows that are split over several runs pass a stage more than once."""

    stage: Stage
    begin: float
    """In seconds of `time.monotonic`, as `end`."""
    end: float


Pass: TypeAlias = Callable[[Stage, float, float], None]
"""Told of each stage that was passed, with its begin and end: `Call.passed`."""


CANCELLED = "CANCELLED"
"""The outcome of a call whose caller goes."""


@dataclass(slots=True, eq=False)
class Call:
    """A request on its way through the server. Everything happens on the event loop's thread."""

    method: str
    """What is called, as `/PACKAGE.SERVICE/METHOD`."""
    caller: Caller = NOBODY
    """Who asks."""
    size: int = 0
    """How many bytes the request took on its way here; 0: it didn't come by wire."""
    address: Callable[[], str] = str
    """Gives where it comes from: a host without a port; empty where that isn't known."""
    observers: "Sequence[Callable[[Call], None]]" = ()
    """Told when the call is over, each once. None of them may raise: the caller has its answer."""
    model: str = ""
    """What answers, as NAME@VERSION; empty until that is known."""
    images: int = 0
    """How many images were taken in."""
    no_digits: int | None = None
    """How many of them were judged to be no digits; None: none were judged."""
    outcome: str = CANCELLED
    """How it ended: the name of its status code. Nobody says so of a call whose caller goes."""
    reason: str = ""
    """Why it was refused, in UPPER_SNAKE; empty when it wasn't, or the fault is ours."""
    trace: Mapping[str, str] = field(default_factory=dict)
    """Which trace its caller makes it part of: the W3C's `traceparent` and `tracestate`, well-formed, or nothing."""
    begin: float = field(default_factory=time.monotonic)
    """When it came, in seconds of `time.monotonic`."""
    end: float = 0.0
    """When its outcome was known; 0 before. The answer may take longer to leave."""
    passages: list[Passage] = field(default_factory=list)
    """The stages that it has passed."""
    _request_id: str = ""
    _trace_id: str = ""
    _span_id: str = ""
    _held: list[AbstractContextManager[object]] = field(default_factory=list)
    _closed: bool = False

    @property
    def request_id(self) -> str:
        """What it is called in logs and errors: its caller's name for it, or one made when it is first needed."""
        self._request_id = self._request_id or secrets.token_hex(6)
        return self._request_id

    @request_id.setter
    def request_id(self, given: str) -> None:
        self._request_id = given

    @property
    def trace_id(self) -> str:
        """The trace that it belongs to, 32 hex digits: its caller's, or else its own."""
        self._trace_id = self._trace_id or self.trace.get("traceparent", "")[3:35] or secrets.token_hex(16)
        return self._trace_id

    @property
    def span_id(self) -> str:
        """What it is called in its trace, 16 hex digits: known before a span is made of it, for what is logged."""
        self._span_id = self._span_id or secrets.token_hex(8)
        return self._span_id

    def passed(self, stage: Stage, begin: float, end: float) -> None:
        """Notes that a stage was passed."""
        self.passages.append(Passage(stage, begin, end))

    def hold(self, context: AbstractContextManager[object]) -> None:
        """Enters a context, and leaves it when the call is over."""
        context.__enter__()
        self._held.append(context)

    def finish(self, outcome: str) -> None:
        """Notes how it ended, and that it did so now."""
        self.outcome, self.end = outcome, time.monotonic()

    def close(self) -> None:
        """Ends the call: what it holds is let go, and its observers are told. Closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        self.end = self.end or time.monotonic()
        for context in self._held:
            context.__exit__(None, None, None)
        with handling((self,)):
            for observe in self.observers:
                observe(self)


HANDLED: ContextVar[tuple[Call, ...]] = ContextVar("HANDLED", default=())
"""The calls that work is done for just now; a run of the model can be for several. What is logged says whose it is."""


@contextmanager
def handling(calls: Iterable[Call]) -> Iterator[None]:
    """The block is for these calls."""
    before = HANDLED.set(tuple(calls))
    try:
        yield
    finally:
        HANDLED.reset(before)
