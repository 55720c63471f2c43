"""Gathers waiting requests into one run of the engine, and gives every caller its own rows.

It knows neither a request's meaning nor gRPC: pixels and names of layers come in, activations go out, and calls are
told the stages that their rows passed. Everything but the runs themselves happens on the event loop's thread, so there
are no locks. While a run is under way, new requests wait and go into the next run together: batches grow with the load,
and no request waits for others unless a delay is configured.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from vitrine.server.inference.call import HANDLED, Call, Stage, handling
from vitrine.server.inference.config import BatchingConfig
from vitrine.server.models.snapshot import RunTime
from vitrine.server.threads import off_loop

logger = logging.getLogger(__name__)

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""uint8 (N, height, width)."""

Activations: TypeAlias = dict[str, npt.NDArray[np.float32]]
"""float32 (N, width) by layer, and (N,) for the novelty, which is cut up like one."""

Run: TypeAlias = Callable[[Pixels, Sequence[str]], Activations]
"""Calculates a batch; called in another thread."""


class _Waiting:
    """A caller that waits for its activations."""

    __slots__ = ("calls", "done", "layers", "missing", "parts", "pixels", "since", "taken", "told")

    def __init__(
        self, pixels: Pixels, layers: Sequence[str], done: "asyncio.Future[Activations | None]", told: Call | None
    ) -> None:
        self.pixels = pixels
        self.layers = layers
        self.done = done
        """Done when all rows are calculated, one has failed, or the caller has gone. Of one run, it has the rows."""
        self.told = told
        """Told of the stages that its rows pass."""
        self.since = time.monotonic()
        """When it came: some event loops' own clock stands still between two turns."""
        self.missing = len(pixels)
        """Rows that are not calculated yet."""
        self.calls = HANDLED.get()
        """The calls that a line of the log about its rows names."""
        self.taken = 0
        """Rows that have gone into runs."""
        self.parts: dict[int, Activations] | None = None
        """The rows of several runs, by the number of their first: runs needn't end in their order."""

    def deliver(self, start: int, rows: int, values: Activations) -> None:
        """Takes rows from `start` on; ends the wait when all are there."""
        self.missing -= rows
        if self.parts is None and not self.missing:
            self.done.set_result(values)
            return
        self.parts = self.parts or {}
        self.parts[start] = values
        if not self.missing:
            self.done.set_result(None)

    async def joined(self) -> Activations:
        """All rows of several runs in their order; many are copied in a thread."""
        parts = [part for _, part in sorted((self.parts or {}).items())]
        size = sum(values.nbytes for part in parts for values in part.values())
        return await off_loop(
            size, lambda: {layer: np.concatenate([part[layer] for part in parts]) for layer in self.layers}
        )


class _Moments(NamedTuple):
    """The steps of a run, in seconds of `time.monotonic`."""

    taken: float
    """A thread took it up: its rows waited until then."""
    gathered: float
    """All rows were put together."""
    computed: float
    """The model had run."""


NOT_RUN = _Moments(0.0, 0.0, 0.0)

SHORT_SECONDS = 200e-6
"""Seconds of a run that is cheaper on the event loop's own thread than with its way to another thread and back."""

LONG_SECONDS, MANY_ROWS = 1e-3, 64
"""Seconds of a run that is cheaper there, too, if no other run could go on meanwhile, and the images that it must take.

A model that takes fewer in this time would give up larger batches, and keep the event loop from its work.
"""

TURN_SECONDS = 50e-3
"""Seconds after which the event loop gets a turn between two runs on its thread, however long the queue is.

Taking up a call costs more than its share of a run. With too short a time, an overloaded loop would take up more calls
in each turn than it runs, until the queue is full.
"""


def inline_rows(run_time: RunTime, config: BatchingConfig) -> int:
    """The images of the largest batch that is run on the event loop's own thread; 0: every run has a thread."""
    if not config.inline:
        return 0
    many = run_time.images_within(LONG_SECONDS)
    return many if config.parallel == 1 and many >= MANY_ROWS else run_time.images_within(SHORT_SECONDS)


class _Share:
    """A caller's part of a batch: its rows from `start` to before `stop`, and what becomes of them."""

    __slots__ = ("moments", "offset", "result", "start", "stop", "waiting")

    def __init__(self, waiting: _Waiting, start: int, stop: int) -> None:
        self.waiting, self.start, self.stop = waiting, start, stop
        self.offset = 0
        """The place of its first row among those that are run."""
        self.result: Activations | Exception | None = None
        """Its rows' activations, or why there are none; None: it wasn't calculated."""
        self.moments = NOT_RUN
        """The steps of the run that it was in."""

    @property
    def pixels(self) -> Pixels:
        """Its rows."""
        rows = self.waiting.pixels
        return rows if self.stop - self.start == len(rows) else rows[self.start : self.stop]

    def take(self, values: Activations, moments: _Moments) -> None:
        """Takes its rows out of a batch's activations: views, not copies."""
        end = self.offset + self.stop - self.start
        self.result = {name: values[name][self.offset : end] for name in self.waiting.layers}
        self.moments = moments

    def deliver(self) -> None:
        """Hands its rows to its caller, which goes on when all are there. A caller that has gone is passed over."""
        waiting, moments = self.waiting, self.moments
        if waiting.done.done():
            return
        if not isinstance(self.result, dict):
            waiting.done.set_exception(self.result or RuntimeError("the run ended without a result"))
            return
        if waiting.told is not None:
            waiting.told.passed(Stage.QUEUE, waiting.since, moments.taken)
            waiting.told.passed(Stage.BATCH, moments.taken, moments.gathered)
            waiting.told.passed(Stage.COMPUTE, moments.gathered, moments.computed)
        waiting.deliver(self.start, self.stop - self.start, self.result)


@dataclass(slots=True, eq=False)
class _Batch:
    """The shares that are run together."""

    shares: list[_Share]
    """The shares; once a thread has it, those whose callers are still there."""
    rows: int
    """Their rows."""
    finished: bool = False
    """Its run has ended. An executor may raise for a batch, and run it all the same later on."""


class Batcher:
    """Runs waiting rows in batches; make it and use it on one event loop.

    Args:
        run: calculates a batch.
        threads: the threads that it is called in.
        config: the settings of batches.
        ran: told of each batch that was run; one that failed and was run again one by one counts once.
        inline_rows: the largest batch that is run on the event loop's own thread. All requests that have arrived in
            one turn of the loop then go into one run, and no thread takes turns with the loop.
        clock: tells seconds, by which the runs of one turn end in time.
    """

    def __init__(
        self,
        run: Run,
        threads: Executor,
        config: BatchingConfig,
        ran: Callable[[], None] = lambda: None,
        inline_rows: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._threads = threads
        self._config = config
        self._ran = ran
        self._inline_rows = inline_rows
        self._clock = clock
        self._gathering = False
        self._queue: deque[_Waiting] = deque()
        self._running = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Rows that wait, of callers that are still there."""
        return sum(len(waiting.pixels) - waiting.taken for waiting in self._queue if not waiting.done.done())

    async def run(self, pixels: Pixels, layers: Sequence[str], told: Call | None = None) -> Activations:
        """Calculates activations, together with other callers' rows.

        A caller that is cancelled while it waits leaves the queue: its rows are never calculated. More rows than a
        batch holds go into several. When a batch fails, its callers' parts are run one by one, so that one caller's
        input fails no other caller.

        Args:
            pixels: uint8 (N, height, width), N at least 1.
            layers: the names of the wanted layers, each once; at least one.
            told: the call that is told of each stage that the rows pass, once they are calculated.

        Returns:
            float32 (N, width) for each of `layers`, in their order.
        """
        waiting = _Waiting(pixels, layers, asyncio.get_running_loop().create_future(), told)
        self._queue.append(waiting)
        if self._inline_rows:
            self._run_soon()
        else:
            self._start_runs()
        values = await waiting.done
        return await waiting.joined() if values is None else values

    def _run_soon(self) -> None:
        """Starts runs when what has arrived in this turn of the event loop is in the queue."""
        if not self._gathering:
            self._gathering = True
            asyncio.get_running_loop().call_soon(self._run_gathered)

    def _run_gathered(self) -> None:
        self._gathering = False
        self._start_runs()

    def _start_runs(self) -> None:
        """Starts as many runs as may be under way; sets a timer where the next batch is to wait for more rows.

        Runs on this thread go on in the loop's next turn once they have taken `TURN_SECONDS`: meanwhile it takes up
        calls, sends answers, and sees who has gone.
        """
        begin = self._clock()
        while self._running < self._config.parallel and self._drop_gone():
            if (seconds := self._seconds_to_wait()) > 0:
                self._wake_in(seconds)
                return
            batch, loop = self._take(), asyncio.get_running_loop()
            self._running += 1
            if batch.rows <= self._inline_rows:
                self._calculate(batch.shares)
                self._deliver(batch.shares)
                if self._clock() - begin < TURN_SECONDS:
                    continue
                self._run_soon()
                return
            try:
                self._threads.submit(self._work, batch, loop)
            except Exception as error:  # no thread can take it; the service may have been closed under its callers
                for share in batch.shares:
                    share.result = error
                loop.call_soon(self._finish, batch)

    def _drop_gone(self) -> bool:
        """Drops callers that have gone from the queue's head; True when any caller is left."""
        while self._queue and self._queue[0].done.done():
            self._queue.popleft()
        return bool(self._queue)

    def _seconds_to_wait(self) -> float:
        """Seconds that the batch may still wait for more rows: a timer that comes early finds time left here."""
        if self._config.max_delay == 0:
            return 0.0
        if self.waiting >= self._config.max_rows:
            return 0.0
        return self._queue[0].since + self._config.max_delay - time.monotonic()

    def _wake_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._start_runs)

    def _take(self) -> _Batch:
        """The next batch, from the queue's head on.

        If the head can be run on the loop's own thread, the batch can, too: larger callers behind it wait for the next.
        A caller that fits into a batch isn't split over two: its activations would have to be copied together.
        """
        shares: list[_Share] = []
        first = self._queue[0]
        inline = len(first.pixels) - first.taken <= self._inline_rows
        size = room = min(self._inline_rows, self._config.max_rows) if inline else self._config.max_rows
        while room and self._drop_gone():
            waiting = self._queue[0]
            start, end = waiting.taken, len(waiting.pixels)
            if inline and end - start > self._inline_rows:
                break
            if room < end - start <= size:
                break
            stop = min(start + room, end)
            shares.append(_Share(waiting, start, stop))
            waiting.taken, room = stop, room - (stop - start)
            if stop == end:
                self._queue.popleft()
        return _Batch(shares, size - room)

    def _work(self, batch: _Batch, loop: asyncio.AbstractEventLoop) -> None:
        """Calculates a batch in a worker's thread, and hands it back to the event loop.

        Callers may have gone while the batch waited for a thread: their rows aren't calculated.
        """
        batch.shares = [share for share in batch.shares if not share.waiting.done.done()]
        try:
            self._calculate(batch.shares)
        finally:  # whatever happens, the next batch can run, and no caller waits for ever
            loop.call_soon_threadsafe(self._finish, batch)

    def _calculate(self, shares: Sequence[_Share]) -> None:
        """Gives each share its result; a batch that fails is run again one by one."""
        if not shares:
            return
        with handling([call for share in shares for call in share.waiting.calls]):
            try:
                self._calculate_together(shares)
            except Exception as error:
                if len(shares) == 1:
                    shares[0].result = error
                    return
                logger.warning("a batch of %d callers failed, and is run again one by one: %r", len(shares), error)
                for share in shares:
                    self._calculate([share])

    def _calculate_together(self, shares: Sequence[_Share]) -> None:
        """Runs the batch for all layers that any caller wants, and cuts it up."""
        # 1. Gather the rows, and the union of the layers.
        taken = time.monotonic()
        if len(shares) == 1:  # without contention this is every batch
            pixels, layers = shares[0].pixels, shares[0].waiting.layers
        else:
            offset = 0
            for share in shares:  # callers may have gone from among them
                share.offset, offset = offset, offset + share.stop - share.start
            pixels = np.concatenate([share.pixels for share in shares])
            layers = list(dict.fromkeys(layer for share in shares for layer in share.waiting.layers))
        # 2. Run the model.
        gathered = time.monotonic()
        values = self._run(pixels, layers)
        moments = _Moments(taken, gathered, time.monotonic())
        # 3. Cut its activations up, which were other callers' rows if any were missing.
        for layer in layers:
            if len(values[layer]) != len(pixels):
                raise RuntimeError(f"the model gave other than {len(pixels)} rows for {len(pixels)} images")
        if len(shares) == 1:
            shares[0].result, shares[0].moments = values, moments
            return
        for share in shares:
            share.take(values, moments)

    def _finish(self, batch: _Batch) -> None:
        """Delivers a batch, once, and starts the next."""
        if batch.finished:
            return
        batch.finished = True
        try:
            self._deliver(batch.shares)
        finally:
            self._start_runs()

    def _deliver(self, shares: Sequence[_Share]) -> None:
        """Ends a run, and hands each caller its rows."""
        self._running -= 1
        if shares:
            self._ran()
        for share in shares:
            share.deliver()
