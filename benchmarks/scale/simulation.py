"""Waiting in one worker on one core: its event loop, and the thread that runs the model.

The event loop works in turns. A turn takes up what has come since the one before: requests that arrived, runs that
ended, rows that are to be answered. The first request that finds the model idle starts a run. All that come meanwhile
wait, and share the next one, as in `vitrine.server.inference.batching`. The run gets the core when the turn is over:
the event loop keeps Python's interpreter lock until then. It knows no real server: times come from `measuring`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from heapq import heapify, heappop, heappush
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Seconds: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Costs:
    """What steps take, in seconds."""

    receive: float
    """A request, on the event loop, until its rows wait for a run."""
    answer: float
    """An answer, on the event loop, from its rows to its bytes."""
    run: float
    """A run of the model, whatever its rows."""
    row: float
    """Each row of a run."""
    rest: float
    """The way to the server and back, and the client: nobody waits for another there."""


@dataclass(frozen=True, slots=True, eq=False)
class Simulated:
    """What became of the calls."""

    latencies: Seconds
    """float64 (N,): seconds from each call's moment to its answer."""
    runs: int
    """Runs of the model."""


class _Kind(Enum):
    ARRIVED = auto()
    RAN = auto()
    ANSWERED = auto()


class _Event(NamedTuple):
    moment: float
    number: int
    """Events of one moment keep their order."""
    kind: _Kind
    calls: Sequence[int]


def poisson(rate: float, count: int, seed: int = 0) -> Seconds:
    """Moments of `count` independent calls, `rate` a second on average: float64 (count,)."""
    return np.random.default_rng(seed).exponential(1 / rate, count).cumsum()


def simulate(arrivals: Seconds, costs: Costs, max_rows: int = 256) -> Simulated:
    """Lets calls of one image wait for each other.

    Args:
        arrivals: float64 (N,), the moments of the calls, in their order.
        costs: what the server's steps take.
        max_rows: the largest number of images in one run.
    """
    server = _Server(arrivals, costs, max_rows)
    while server.events:
        server.turn()
    return Simulated(server.answered - arrivals + costs.rest, server.runs)


class _Server:
    """The state between two turns of the event loop."""

    def __init__(self, arrivals: Seconds, costs: Costs, max_rows: int) -> None:
        self._costs, self._max_rows = costs, max_rows
        self.events = [_Event(moment, call, _Kind.ARRIVED, [call]) for call, moment in enumerate(arrivals.tolist())]
        """What is still to come, as a heap."""
        heapify(self.events)
        self.answered = np.zeros(len(arrivals))
        """The moment of each call's answer."""
        self.runs = 0
        """Runs that were begun."""
        self._now, self._numbers = 0.0, len(arrivals)
        self._waiting: list[int] = []
        self._running: list[int] = []

    def turn(self) -> None:
        """A turn of the event loop, which waits for an event and takes up all that have come; then the run it began."""
        self._now = max(self._now, self.events[0].moment)
        taken = list(self._come(self._now))
        for event in taken:
            self._take_up(event)
        if self._running:
            self.runs += 1
            self._now += self._costs.run + self._costs.row * len(self._running)
            self._expect(self._now, _Kind.RAN, self._running)

    def _come(self, until: float) -> Iterator[_Event]:
        while self.events and self.events[0].moment <= until:
            yield heappop(self.events)

    def _take_up(self, event: _Event) -> None:
        match event.kind:
            case _Kind.ARRIVED:
                self._now += self._costs.receive
                self._waiting += event.calls
                self._start_run()
            case _Kind.RAN:
                self._running = []
                for call in event.calls:
                    self._expect(self._now, _Kind.ANSWERED, [call])
                self._start_run()
            case _Kind.ANSWERED:
                self._now += self._costs.answer
                self.answered[event.calls] = self._now

    def _start_run(self) -> None:
        """Starts a run of what waits, unless one is under way."""
        if not self._running:
            self._running, self._waiting = self._waiting[: self._max_rows], self._waiting[self._max_rows :]

    def _expect(self, moment: float, kind: _Kind, calls: Sequence[int]) -> None:
        self._numbers += 1
        heappush(self.events, _Event(moment, self._numbers, kind, calls))
