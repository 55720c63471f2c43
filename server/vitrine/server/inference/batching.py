"""Gathers what is waiting into one run of the engine, and gives every caller its own rows.

It knows neither what a request says nor gRPC: pixels and the names of layers come in, activations go out, and calls are
told which stages their rows passed. Everything but the runs
themselves happens on the event loop's thread, so there are no locks. While a run is under way, what arrives waits and
goes into the next run together: batches grow with the load, and nobody waits for company unless that was asked for.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from vitrine.server.inference.call import HANDLED, Call, Pass, Stage, handling

logger = logging.getLogger(__name__)

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""uint8 (N, 18, 18)."""

Activations: TypeAlias = dict[str, npt.NDArray[np.float32]]
"""float32 (N, width) by layer, and (N,) for the novelty, which is cut up like one."""

Run: TypeAlias = Callable[[Pixels, Sequence[str]], Activations]
"""What calculates a batch; called in another thread."""


@dataclass(frozen=True, slots=True)
class BatchingConfig:
    """How batches are made."""

    max_rows: int = 256
    """The largest number of images in one run."""
    max_delay: float = 0.0
    """How many seconds a batch that isn't full waits for company."""
    parallel: int = 1
    """How many runs may be under way at once."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A caller that waits for its activations."""

    pixels: Pixels
    layers: Sequence[str]
    done: "asyncio.Future[None]"
    """Done when all rows are calculated, one has failed, or the caller has gone."""
    passed: Pass
    """Told of the stages that its rows pass."""
    since: float
    """When it came, by the event loop's clock, which is `time.monotonic`."""
    calls: tuple[Call, ...] = field(default_factory=HANDLED.get)
    """What is logged of its rows is about these."""
    taken: int = 0
    """How many of its rows have gone into runs."""
    parts: dict[int, Activations] = field(default_factory=dict)
    """The rows that have been calculated, by the first one's number: runs needn't end in their order."""

    def deliver(self, start: int, outcome: "_Outcome") -> None:
        """Takes the rows from `start` on; done when all are there. A caller that has gone is passed over."""
        if self.done.done():
            return
        if isinstance(outcome, Exception):
            self.done.set_exception(outcome)
            return
        self._note(outcome.moments)
        self.parts[start] = outcome.activations
        if sum(len(next(iter(part.values()))) for part in self.parts.values()) == len(self.pixels):
            self.done.set_result(None)

    def _note(self, moments: "_Moments") -> None:
        self.passed(Stage.QUEUE, self.since, moments.taken)
        self.passed(Stage.BATCH, moments.taken, moments.gathered)
        self.passed(Stage.COMPUTE, moments.gathered, moments.computed)

    def joined(self) -> Activations:
        """All rows in their order."""
        if len(self.parts) == 1:
            return self.parts[0]
        ordered = [self.parts[start] for start in sorted(self.parts)]
        return {layer: np.concatenate([part[layer] for part in ordered]) for layer in self.layers}


class _Moments(NamedTuple):
    """When a run did what, in seconds of `time.monotonic`."""

    taken: float
    """A thread took it up: those in it waited until then."""
    gathered: float
    """All rows were put together."""
    computed: float
    """The model had run."""


class _Answer(NamedTuple):
    """What a run gave one caller."""

    activations: Activations
    moments: _Moments


_Outcome: TypeAlias = "_Answer | Exception"
"""What a caller gets of a run, or what went wrong in it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Share:
    """A caller's part of a batch: its rows from `start` to before `stop`."""

    waiting: _Waiting
    start: int
    stop: int

    @property
    def pixels(self) -> Pixels:
        return self.waiting.pixels[self.start : self.stop]


class Batcher:
    """Runs what is waiting, in batches; make it and use it on one event loop.

    Args:
        run: what calculates a batch.
        threads: where it is called.
        config: how batches are made.
        ran: told of each batch that was run; one that failed and was run again one by one is one.
    """

    def __init__(
        self, run: Run, threads: Executor, config: BatchingConfig, ran: Callable[[], None] = lambda: None
    ) -> None:
        self._run = run
        self._threads = threads
        self._config = config
        self._ran = ran
        self._queue: deque[_Waiting] = deque()
        self._running = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many rows wait, of callers that are still there."""
        return sum(len(waiting.pixels) - waiting.taken for waiting in self._queue if not waiting.done.done())

    async def run(self, pixels: Pixels, layers: Sequence[str], passed: Pass = lambda *_: None) -> Activations:
        """Calculates activations, together with what others asked for at the time.

        A caller that is cancelled while it waits leaves the queue: its rows are never calculated. More rows than a
        batch holds go into several. When a batch fails, its callers' parts are run one by one, so that what one of
        them brought fails nobody else.

        Args:
            pixels: uint8 (N, 18, 18), N at least 1.
            layers: the names of the layers that are wanted; at least one.
            passed: told of each stage that the rows pass, once they are calculated.

        Returns:
            float32 (N, width) for each of `layers`, in their order.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(pixels, layers, loop.create_future(), passed, loop.time())
        self._queue.append(waiting)
        self._start_runs()
        await waiting.done
        return waiting.joined()

    def _start_runs(self) -> None:
        """Starts as many runs as may be under way; where batches wait for company, sees to it that they end waiting."""
        while self._running < self._config.parallel and self._drop_gone():
            if (seconds := self._seconds_to_wait()) > 0:
                self._wake_in(seconds)
                return
            shares = self._take()
            self._running += 1
            run = asyncio.get_running_loop().run_in_executor(self._threads, self._calculate, shares)
            run.add_done_callback(self._finish)

    def _drop_gone(self) -> bool:
        """Drops callers that have gone from the queue's head; whether anyone is left."""
        while self._queue and self._queue[0].done.done():
            self._queue.popleft()
        return bool(self._queue)

    def _seconds_to_wait(self) -> float:
        """How long the batch may still wait for company: a timer that comes early finds time left here."""
        if self._config.max_delay == 0:
            return 0.0
        if self.waiting >= self._config.max_rows:
            return 0.0
        return self._queue[0].since + self._config.max_delay - asyncio.get_running_loop().time()

    def _wake_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._start_runs)

    def _take(self) -> list[_Share]:
        """The next batch, from the queue's head on."""
        shares: list[_Share] = []
        room = self._config.max_rows
        while room and self._drop_gone():
            waiting = self._queue[0]
            start, stop = waiting.taken, min(waiting.taken + room, len(waiting.pixels))
            shares.append(_Share(waiting, start, stop))
            waiting.taken, room = stop, room - (stop - start)
            if stop == len(waiting.pixels):
                self._queue.popleft()
        return shares

    def _calculate(self, shares: Sequence[_Share]) -> list[tuple[_Share, _Outcome]]:
        """In a worker's thread: what each share gets.

        Callers may have gone while the batch waited for a thread: what they wanted isn't calculated.
        """
        wanted = [share for share in shares if not share.waiting.done.done()]
        if not wanted:
            return []
        with handling(call for share in wanted for call in share.waiting.calls):
            try:
                return list(zip(wanted, self._calculate_together(wanted), strict=True))
            except Exception as error:
                if len(wanted) == 1:
                    return [(wanted[0], error)]
                logger.warning("a batch of %d callers failed, and is run again one by one: %r", len(wanted), error)
                return [outcome for share in wanted for outcome in self._calculate([share])]

    def _calculate_together(self, shares: Sequence[_Share]) -> list[_Answer]:
        """Runs the batch for all layers that anyone wants, and cuts it up: views, not copies."""
        taken = time.monotonic()
        wanted = list(dict.fromkeys(layer for share in shares for layer in share.waiting.layers))
        pixels = shares[0].pixels if len(shares) == 1 else np.concatenate([share.pixels for share in shares])
        gathered = time.monotonic()
        values = self._run(pixels, wanted)
        moments = _Moments(taken, gathered, time.monotonic())
        if any(len(values[layer]) != len(pixels) for layer in wanted):  # cut up, these would be other callers' rows
            raise RuntimeError(f"the model gave other than {len(pixels)} rows for {len(pixels)} images")
        stops = np.cumsum([share.stop - share.start for share in shares]).tolist()
        return [
            _Answer(
                {name: values[name][stop - (share.stop - share.start) : stop] for name in share.waiting.layers}, moments
            )
            for share, stop in zip(shares, stops, strict=True)
        ]

    def _finish(self, run: "asyncio.Future[list[tuple[_Share, _Outcome]]]") -> None:
        self._running -= 1
        try:
            if not run.cancelled():  # it is when the server stops, and has waited for its callers as long as it may
                outcomes = run.result()
                if outcomes:
                    self._ran()
                for share, outcome in outcomes:
                    share.waiting.deliver(share.start, outcome)
        finally:
            self._start_runs()
