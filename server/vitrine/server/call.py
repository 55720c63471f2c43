"""One request that is answered: who asks, which stages it goes through and when, what it holds until it is over.

Whoever speaks a protocol makes a call for each request, hands it down with the request, and closes it once the answer
has left or nobody wants it any more. It knows no transport, and neither metrics nor traces: these read it.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from vitrine.server.access import NOBODY, Caller


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
    address: Callable[[], str] = str
    """Gives where it comes from: a host without a port; empty where that isn't known."""
    observers: "Sequence[Callable[[Call], None]]" = ()
    """Told when the call is over, each once."""
    model: str = ""
    """What answers, as NAME@VERSION; empty until that is known."""
    images: int = 0
    """How many images were taken in."""
    outcome: str = CANCELLED
    """How it ended: the name of its status code. Nobody says so of a call whose caller goes."""
    begin: float = field(default_factory=time.monotonic)
    """When it came, in seconds of `time.monotonic`."""
    passages: list[Passage] = field(default_factory=list)
    """The stages that it has passed."""
    _held: list[AbstractContextManager[object]] = field(default_factory=list)
    _closed: bool = False

    def passed(self, stage: Stage, begin: float, end: float) -> None:
        """Notes that a stage was passed."""
        self.passages.append(Passage(stage, begin, end))

    def hold(self, context: AbstractContextManager[object]) -> None:
        """Enters a context, and leaves it when the call is over."""
        context.__enter__()
        self._held.append(context)

    def close(self) -> None:
        """Ends the call: what it holds is let go, and its observers are told. Closing twice does nothing."""
        if not self._closed:
            self._closed = True
            for context in self._held:
                context.__exit__(None, None, None)
            for observe in self.observers:
                observe(self)
