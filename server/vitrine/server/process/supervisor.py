"""Keeps several workers serving on one port: starts them, replaces those that die, and lets them drain at the end.

It answers no request, and loads neither gRPC nor ONNX Runtime: what serves, and can crash, is in the workers alone.
Each worker has a place; whoever dies is followed by another in the same place, and how often that happens in a row is
counted there.
"""

import asyncio
import logging
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import resource_tracker

from vitrine.server.errors import CrashLoop, StartupError
from vitrine.server.process.config import ServerConfig
from vitrine.server.process.port import held
from vitrine.server.process.signals import on_signals
from vitrine.server.process.worker import Report, work
from vitrine.server.security.addresses import address_of
from vitrine.server.telemetry.prometheus import WorkersMetrics, workers_metrics

logger = logging.getLogger(__name__)

SPAWN = multiprocessing.get_context("spawn")
"""Workers start from nothing: what a fork would copy of locks and threads is no safe ground for gRPC."""

STEADY_SECONDS = 3.0
"""How long a worker must have answered for its death not to count as a failure."""

PAUSES = (0.0, 0.0, 0.25, 0.5, 1.0, 2.0)
"""How many seconds pass before a worker is replaced, after so many failures in a row.

One more ends the server, unless others of its workers answer: then it is tried again, at the longest of these pauses.
"""

GRACE_SECONDS = 5.0
"""How much longer a worker may take to leave than it was given to drain, before it is taken to hang."""


async def supervise(config: ServerConfig, announce: Callable[[str], None], initializer: Callable[[], None]) -> None:
    """Serves with `config.workers` processes until SIGTERM or SIGINT, then lets all of them drain.

    The first worker starts alone, so that what keeps it from starting is said once.

    Args:
        config: the settings.
        announce: called once with HOST:PORT, when all workers are ready to answer.
        initializer: what each worker calls first, to set up what a process has of its own; must be picklable.

    Raises:
        StartupError: a place's first worker refuses to start, or an address can't be listened on.
        CrashLoop: workers ended again and again; those that were left have drained.
    """
    leaving = asyncio.Event()
    on_signals(leaving, _kill_all)
    with held(config.host, config.port) as port, workers_metrics(config.metrics) as metrics:
        shared = replace(config, port=port, shares_port=True)
        places: list[_Place] = []
        places += [_Place(n, shared, initializer, leaving, places, metrics) for n in range(config.workers)]
        keeping = [asyncio.ensure_future(places[0].keep())]
        try:
            await _first_of(places[0].ready, leaving)
            keeping += [asyncio.ensure_future(place.keep()) for place in places[1:]]
            for place in places:
                await _first_of(place.ready, leaving)
            if not leaving.is_set():
                announce(address_of(config.host, port))
            await leaving.wait()
        finally:  # whatever happens here, no worker is left behind
            leaving.set()
            outcomes = await asyncio.gather(*keeping, return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome
    logger.info("stopped")


class _Worker:
    """A worker's process, as its supervisor sees it.

    Raises:
        OSError: the process can't be started.
    """

    def __init__(self, config: ServerConfig, initializer: Callable[[], None]) -> None:
        self._line, its_end = SPAWN.Pipe()
        self._process = SPAWN.Process(target=work, args=(config, its_end, initializer))
        with its_end, _deaf_to_ctrl_c():
            self._process.start()
        self._loop = asyncio.get_running_loop()
        self.report: Report | None = None
        """What it said of its start; None: nothing yet, or it died before."""
        self.reported, self.ended = asyncio.Event(), asyncio.Event()
        self._loop.add_reader(self._line.fileno(), self._hear)
        self._loop.add_reader(self._process.sentinel, self._see_off)

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._process.pid

    @property
    def ready(self) -> bool:
        """Whether it has said that it is ready to answer."""
        return isinstance(self.report, str)

    @property
    def cause(self) -> str:
        """What it ended with: a signal's name or an exit status, and why it refused to start, if it did."""
        code = self._process.exitcode or 0
        names = {number.value: number.name for number in signal.Signals}
        how = names.get(-code, f"signal {-code}") if code < 0 else f"exit status {code}"
        return f"{how}: {self.report}" if isinstance(self.report, StartupError) else how

    def ask_to_leave(self) -> None:
        """Ends the line to it, upon which it drains and leaves."""
        if not self._line.closed:
            self._loop.remove_reader(self._line.fileno())
            self._line.close()

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()

    def _hear(self) -> None:
        self._loop.remove_reader(self._line.fileno())
        try:
            self.report = self._line.recv()
        except (EOFError, OSError):
            return  # it has ended, and is seen off next
        self.reported.set()

    def _see_off(self) -> None:
        self._loop.remove_reader(self._process.sentinel)
        if not self._line.closed and not self.reported.is_set():
            self._hear()  # the last words of one that refused to start
        self.ask_to_leave()
        self._process.join()
        self.reported.set()
        self.ended.set()


class _Place:
    """A place for one worker at a time."""

    def __init__(
        self,
        number: int,
        config: ServerConfig,
        initializer: Callable[[], None],
        leaving: asyncio.Event,
        places: "Sequence[_Place]",
        metrics: WorkersMetrics | None,
    ) -> None:
        self._number = number
        self._config = replace(config, metrics=metrics.of(number)) if metrics else config
        self._metrics = metrics
        self._initializer = initializer
        self._leaving = leaving
        self._places = places
        self._seconds_to_leave = config.propagation_seconds + config.drain_seconds + GRACE_SECONDS
        self.answering = False
        """Whether its worker answers now."""
        self._in_place_of = ""
        self.ready = asyncio.Event()
        """Set once a worker of this place has been ready to answer."""

    async def keep(self) -> None:
        """Has one worker after the other live here until the server leaves; when that can't go on, the server leaves.

        Raises:
            StartupError: the first worker refuses to start.
            CrashLoop: too many in a row ended before they had answered for a while, and no other place's answers.
        """
        failures = 0
        try:
            while not self._leaving.is_set():
                failure = await self._live()
                failures = failures + 1 if failure else 0
                if failures >= len(PAUSES) and not any(place.answering for place in self._places):
                    raise CrashLoop(
                        f"{failures} workers in a row ended before they had answered for {STEADY_SECONDS:g} s, "
                        f"the last with {failure}; the log has those before"
                    )
                await _first_of(self._leaving, seconds=PAUSES[min(failures, len(PAUSES) - 1)])
        finally:
            self._leaving.set()

    async def _live(self) -> str:
        """The life of one worker, from its start to its end; if it was too short, what it ended with."""
        try:
            worker = _Worker(self._config, self._initializer)
        except OSError as error:  # there are too many processes or open files just now
            logger.warning("a worker can't be started: %s", error)
            return str(error)
        logger.info("worker %d starts%s", worker.pid, self._in_place_of)
        await _first_of(worker.reported, self._leaving)
        if worker.ready:
            logger.info("worker %d is ready", worker.pid)
            self.ready.set()
            self.answering = True
        steady = worker.ready and not await _first_of(worker.ended, self._leaving, seconds=STEADY_SECONDS)
        await _first_of(worker.ended, self._leaving)
        worker.ask_to_leave()
        if not await _first_of(worker.ended, seconds=self._seconds_to_leave):
            logger.error("worker %d hangs, and is killed", worker.pid)
            worker.kill()
            await worker.ended.wait()
        self.answering = False
        self._bury(worker)
        return "" if steady or self._leaving.is_set() else worker.cause

    def _bury(self, worker: _Worker) -> None:
        """What is to be done when a worker has ended: whatever else is kept of it ends here.

        Raises:
            StartupError: it was the first, and refused to start.
        """
        if self._metrics:
            self._metrics.ended(self._number, unasked=not self._leaving.is_set())
        if isinstance(worker.report, StartupError) and not (self.ready.is_set() or self._leaving.is_set()):
            raise worker.report  # who catches it says it, once
        level = logging.INFO if self._leaving.is_set() else logging.WARNING
        logger.log(level, "worker %d ended with %s", worker.pid, worker.cause)
        self._in_place_of = f" in place of {worker.pid}"


async def _first_of(*events: asyncio.Event, seconds: float | None = None) -> bool:
    """Waits until one of the events is set, or until so many seconds have passed; whether one was set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    done, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    return bool(done)


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Starts processes that a terminal's Ctrl-C doesn't reach: it is the supervisor who tells them.

    What is blocked stays blocked in a new process. The tracker that Python starts before the first one would undo that.
    """
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill_all() -> None:
    for process in multiprocessing.active_children():
        process.kill()
