"""One request on its way: its caller, the time of each stage, what it holds until it is over, and its outcome.

A front end makes a call for each request, hands it down with the request, and closes it once the answer has left or
the caller has gone. It knows no transport, and neither metrics, traces nor logs: these read it.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import NamedTuple

from vitrine.server.errors import (
    AnswerTooLarge,
    InvalidRequest,
    Leaving,
    NotFound,
    Overloaded,
    PermissionDenied,
    RateExceeded,
    RequestError,
    RequestTooLarge,
    RequestTooSlow,
    Unauthenticated,
    Unsupported,
)
from vitrine.server.security.access import NOBODY, Caller


class Outcome(StrEnum):
    """The end of a call. The names are those of google.rpc.Code, which metrics, logs and traces show."""

    OK = "OK"
    """It was answered."""
    CANCELLED = "CANCELLED"
    """Its caller went away."""
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    """Something in the request is wrong."""
    NOT_FOUND = "NOT_FOUND"
    """It asks for something that isn't there."""
    UNAUTHENTICATED = "UNAUTHENTICATED"
    """Its caller has no token, or an unknown one."""
    PERMISSION_DENIED = "PERMISSION_DENIED"
    """Its caller lacks a permission."""
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    """There is too much to do, or its answer would be too large."""
    UNIMPLEMENTED = "UNIMPLEMENTED"
    """It asks for something that this server doesn't do."""
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    """Its message took too long to arrive."""
    UNAVAILABLE = "UNAVAILABLE"
    """The server was leaving."""
    INTERNAL = "INTERNAL"
    """The server failed."""


OUTCOMES: Mapping[type[RequestError], Outcome] = {
    Unauthenticated: Outcome.UNAUTHENTICATED,
    PermissionDenied: Outcome.PERMISSION_DENIED,
    InvalidRequest: Outcome.INVALID_ARGUMENT,
    NotFound: Outcome.NOT_FOUND,
    Unsupported: Outcome.UNIMPLEMENTED,
    RequestTooLarge: Outcome.RESOURCE_EXHAUSTED,
    RequestTooSlow: Outcome.DEADLINE_EXCEEDED,
    Leaving: Outcome.UNAVAILABLE,
    AnswerTooLarge: Outcome.RESOURCE_EXHAUSTED,
    Overloaded: Outcome.RESOURCE_EXHAUSTED,
    RateExceeded: Outcome.RESOURCE_EXHAUSTED,
}
"""The outcome of a call that ends with an error which its caller can do something about."""


class Stage(StrEnum):
    """A step in answering a request; requests pass the stages in this order."""

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


class StageTime(NamedTuple):
    """The time of a stage, in seconds of `time.monotonic`: from the first row's entering it to the last one's leaving.

    Rows that are split over several runs pass a stage at different times; every observer counts the whole.
    """

    begin: float
    """When the first row entered it."""
    end: float
    """When the last row left it."""

    @property
    def seconds(self) -> float:
        """Its duration."""
        return self.end - self.begin


NOT_PASSED = (0.0, 0.0)
"""The begin and the end of a stage that a call hasn't passed."""


@dataclass(slots=True, eq=False)
class Call:
    """A request on its way through the server. Everything happens on the event loop's thread."""

    method: str
    """The method that is called, as `/PACKAGE.SERVICE/METHOD`."""
    caller: Caller = NOBODY
    """The caller; without any permission until it is identified."""
    size: int = 0
    """The request's size on the wire, in bytes; 0: it didn't come by wire."""
    address: Callable[[], str] = str
    """Gives the host that it comes from, without a port; empty where that isn't known."""
    observers: "Sequence[Callable[[Call], None]]" = ()
    """Told when the call is over, each once. None of them may raise: the caller has its answer."""
    model: str = ""
    """The model that answers, as NAME@VERSION; empty until that is known."""
    images: int = 0
    """Images that were taken in."""
    answer_bytes: int = 0
    """The bytes of its answer, at most; 0: few."""
    no_digits: int | None = None
    """Images that were judged to be no digits; None: none were judged."""
    outcome: Outcome = Outcome.CANCELLED
    """Its end. A call whose caller goes keeps the first value."""
    reason: str = ""
    """Why it was refused, in UPPER_SNAKE; empty when it wasn't, or when the server failed."""
    trace: Mapping[str, str] = field(default_factory=dict)
    """The trace that its caller makes it part of: the W3C's `traceparent` and `tracestate`, well-formed, or nothing."""
    begin: float = field(default_factory=time.monotonic)
    """When it came, in seconds of `time.monotonic`."""
    end: float = 0.0
    """When its outcome was known; 0 before. The answer may take longer to leave."""
    times: dict[Stage, tuple[float, float]] = field(default_factory=dict)
    """Begin and end of each stage that it has passed, as plain pairs: every request has several. See `stages`."""
    _request_id: str = ""
    _trace_id: str = ""
    _span_id: str = ""
    _release: Callable[[], None] | None = None
    _closed: bool = False

    @property
    def request_id(self) -> str:
        """Its name in logs and errors: the one its caller gave it, or one made when it is first needed."""
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
        """Its name in its trace, 16 hex digits: known before a span is made of it, because log lines have it."""
        self._span_id = self._span_id or secrets.token_hex(8)
        return self._span_id

    @property
    def stages(self) -> dict[Stage, StageTime]:
        """The times of the stages that it has passed."""
        return {stage: StageTime(*time) for stage, time in self.times.items()}

    def seconds(self, stage: Stage) -> float:
        """The time that a stage took; 0 for one that it hasn't passed."""
        begin, end = self.times.get(stage, NOT_PASSED)
        return end - begin

    def passed(self, stage: Stage, begin: float, end: float) -> None:
        """Notes that rows have passed a stage, from `begin` to `end`."""
        before = self.times.get(stage)
        self.times[stage] = (begin, end) if before is None else (min(begin, before[0]), max(end, before[1]))

    def hold(self, release: Callable[[], None]) -> None:
        """Holds something until the call is over, which is then given back by `release`. A call holds one at most."""
        self._release = release

    def finish(self, outcome: Outcome) -> None:
        """Notes its outcome, and the time."""
        self.outcome, self.end = outcome, time.monotonic()

    def answered(self) -> None:
        """Ends a call that was answered; one that was answered with an error in a message has its outcome already."""
        self.finish(Outcome.OK if self.outcome is Outcome.CANCELLED else self.outcome)

    def close(self) -> None:
        """Ends the call: gives back what it holds, and tells its observers. Closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        self.end = self.end or time.monotonic()
        if self._release is not None:
            self._release()
        if self.observers:
            before = HANDLED.set((self,))
            for observe in self.observers:
                observe(self)
            HANDLED.reset(before)


HANDLED: ContextVar[tuple[Call, ...]] = ContextVar("HANDLED", default=())
"""The calls that work is done for just now: each line of the log names them. A run of the model can be for several."""


class handling:  # noqa: N801 - a context manager, which reads like a function
    """A block of work for some calls.

    Args:
        calls: the calls.
    """

    __slots__ = ("_before", "_calls")

    def __init__(self, calls: Iterable[Call]) -> None:
        self._calls = tuple(calls)

    def __enter__(self) -> None:
        self._before: Token[tuple[Call, ...]] = HANDLED.set(self._calls)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        HANDLED.reset(self._before)
