"""Keeps several workers serving on one port: starts them, replaces those that die, and drains them at the end.

It answers no request, and loads neither gRPC nor ONNX Runtime: only workers run code that can crash. Each worker has a
slot. A worker that dies is replaced in the same slot, which counts failures in a row. A worker that was stopped, or
whose event loop hangs, doesn't answer the supervisor's questions, and is killed.
"""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from multiprocessing.connection import Connection, Pipe
from typing import TYPE_CHECKING

from vitrine.server.engine.weights import weights_register
from vitrine.server.errors import CrashLoop, StartupError
from vitrine.server.process.config import FrontendKind, ServerConfig
from vitrine.server.process.line import QUESTION, REREAD, Report
from vitrine.server.process.port import reserve_port
from vitrine.server.process.signals import on_signals
from vitrine.server.security.addresses import address_of
from vitrine.server.security.listening import HTTP_FLAGS
from vitrine.server.telemetry.liveness import Liveness

if TYPE_CHECKING:
    from vitrine.server.telemetry.prometheus import WorkersMetrics

logger = logging.getLogger(__name__)

PROGRAM = "vitrine.server.process.worker"
"""The program of a worker, a new interpreter: a fork would copy locks and threads, which gRPC doesn't survive."""

ISOLATING = ("-E", "-I")
"""Options with which a worker would not read PYTHONPATH, which has the folders of this interpreter's modules."""

FLAGS: Sequence[str] = [
    flag
    for flag in subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    if flag not in ISOLATING
]
"""The other options of this interpreter, such as -O and -X dev, which a worker has too."""

STEADY_SECONDS = 3.0
"""Seconds that a worker must have answered for its death not to count as a failure."""

PAUSES = (0.0, 0.0, 0.25, 0.5, 1.0, 2.0)
"""Seconds before a worker is replaced, after 0, 1, 2, … failures in a row.

One failure more ends the server, unless another worker answers: then the longest pause is repeated.
"""

ASK_SECONDS = 1.0
"""Seconds between two questions to a worker whether its event loop runs."""

DOUBTFUL = 3
"""Questions without an answer after which a worker doesn't count as ready."""

FIRST_PROCESS = 1
"""The id of the first process of a system or a container."""

START_SECONDS = 60.0
"""Seconds that a worker may take at least to answer while it starts: imports and models hold its event loop up."""


async def supervise(config: ServerConfig, announce: Callable[[str], None], initializer: Callable[[], None]) -> None:
    """Serves with `config.process.workers` processes until SIGTERM or SIGINT, then drains all of them.

    The first worker starts alone, so that a reason not to start is reported once.

    Args:
        config: the settings.
        announce: called once with HOST:PORT, when all workers are ready to answer.
        initializer: called first in each worker, to set up its log; must be picklable.

    Raises:
        StartupError: the first worker of a slot refuses to start, or an address can't be listened on.
        CrashLoop: workers ended again and again; the remaining ones have drained.
    """
    stopping, liveness = asyncio.Event(), Liveness()
    slots: list[_Slot] = []
    on_signals(stopping, lambda: _send_all(slots, REREAD), lambda: _kill_all(slots))
    asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, _reap_all, slots)
    with (
        reserve_port(config.grpc.host, config.grpc.port) as port,
        _reserve_http(config) as http_port,
        _workers_metrics(config, liveness) as metrics,
        weights_register() as register,
    ):
        shared = replace(
            config,
            service=replace(config.service, weights_register=register),
            grpc=replace(config.grpc, port=port, shares_port=True),
            http_port=http_port,
        )
        slots += [_Slot(n, shared, initializer, stopping, slots, metrics) for n in range(config.process.workers)]
        running = [asyncio.ensure_future(slots[0].run())]
        watching = asyncio.ensure_future(_watch(slots, liveness))
        try:
            await _first_of(slots[0].ready, stopping)
            running += [asyncio.ensure_future(slot.run()) for slot in slots[1:]]
            for slot in slots:
                await _first_of(slot.ready, stopping)
            if not stopping.is_set():
                announce(address_of(config.grpc.host, port))
            await stopping.wait()
        finally:  # whatever happens here, no worker is left behind
            stopping.set()
            outcomes = await asyncio.gather(*running, return_exceptions=True)
            watching.cancel()
        for outcome in outcomes:
            if outcome is not None:
                raise outcome
    logger.info("stopped")


def _workers_metrics(config: ServerConfig, liveness: Liveness) -> "AbstractContextManager[WorkersMetrics | None]":
    """Shows the metrics of all workers while the context lasts; None where none are wanted."""
    if config.service.metrics is None:
        return nullcontext()
    from vitrine.server.telemetry.prometheus import workers_metrics  # prometheus_client, which takes long to import

    return workers_metrics(config.service.metrics, liveness)


def _reserve_http(config: ServerConfig) -> "AbstractContextManager[int | None]":
    """Reserves the port for HTTP while the context lasts; None where there is none beside the gRPC port."""
    return nullcontext() if config.http is None else reserve_port(config.http.host, config.http.port, HTTP_FLAGS)


async def _watch(slots: Sequence["_Slot"], liveness: Liveness) -> None:
    """Asks all workers again and again whether they answer, and looks for ended ones that no signal told of."""
    liveness.begin(lambda: sum(slot.ready_now for slot in slots))
    while True:
        for slot in slots:
            slot.ask()
        liveness.beat()
        _reap_all(slots)
        await asyncio.sleep(ASK_SECONDS)


class _Worker:
    """The supervisor's side of a worker's process.

    Raises:
        StartupError: it would refuse to start.
        OSError: the process can't be started.
    """

    def __init__(self, config: ServerConfig, initializer: Callable[[], None]) -> None:
        self._line, its_end = Pipe()
        with its_end, _sigint_blocked():
            self._process = _start(its_end, self._line, config, initializer)
        self.ready = False
        """True once it has reported that it is ready to answer."""
        self.ready_now = False
        """Its readiness as it reported it last; false while it leaves."""
        self.unanswered = 0
        """Questions in a row that it hasn't answered."""
        self.refusal: StartupError | None = None
        """The reason why it refused to start."""
        self.reported, self.exited = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._line.fileno(), self._read_report)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_cause(self) -> str:
        """The signal or exit status that it ended with, and the reason if it refused to start."""
        code = self._process.returncode or 0
        names = {number.value: number.name for number in signal.Signals}
        how = names.get(-code, f"signal {-code}") if code < 0 else f"exit status {code}"
        return f"{how}: {self.refusal}" if self.refusal else how

    def stop(self) -> None:
        """Closes the line to the process, which then drains and exits."""
        self.ready_now = False
        if not self._line.closed:
            self._loop.remove_reader(self._line.fileno())
            self._line.close()

    def kill(self) -> None:
        """Ends the process at once."""
        self._process.kill()

    def ask(self) -> None:
        """Asks whether it answers. A question that waits for its answer stays the only one in the line."""
        if self._line.closed:
            return
        self.unanswered += 1
        if self.unanswered == 1:
            self.send(QUESTION)

    def send(self, message: bytes) -> None:
        """Sends one of the messages to a worker, which are so small that the line takes them at once."""
        with suppress(OSError):  # it has exited, and is reaped next, or the line is closed
            self._line.send_bytes(message)

    def _read_report(self) -> None:
        """Reads a report, which answers a question too: its readiness, or that it refuses to start."""
        try:
            report: Report = self._line.recv()
        except (EOFError, OSError):  # it has exited, and is reaped next
            self.stop()
            return
        self.unanswered = 0
        if isinstance(report, StartupError):
            self.refusal = report
        else:
            self.ready_now = report
            self.ready = self.ready or report
        if self.ready or self.refusal:
            self.reported.set()

    def reap(self) -> None:
        """Collects the exit status, if the process has ended."""
        if self.exited.is_set() or self._process.poll() is None:
            return
        try:
            while not self._line.closed and not self.reported.is_set() and self._line.poll():
                self._read_report()  # a refusal may still lie in the line
        finally:
            self.stop()
            self.reported.set()
            self.exited.set()


class _Slot:
    """A place for one worker at a time."""

    def __init__(
        self,
        number: int,
        config: ServerConfig,
        initializer: Callable[[], None],
        stopping: asyncio.Event,
        slots: "Sequence[_Slot]",
        metrics: "WorkersMetrics | None",
    ) -> None:
        self._number = number
        self._config = config
        if metrics:
            self._config = replace(config, service=replace(config.service, metrics=metrics.of(number)))
        self._metrics = metrics
        self._initializer = initializer
        self._stopping = stopping
        self._slots = slots
        self._stop_seconds = config.process.stop_seconds
        self.worker: _Worker | None = None
        """The worker that is here now."""
        self.ready = asyncio.Event()
        """Set once a worker of this slot has been ready to answer."""

    @property
    def answering(self) -> bool:
        """True while its worker answers."""
        return self.worker is not None and self.worker.ready and not self.worker.exited.is_set()

    @property
    def ready_now(self) -> bool:
        """True while its worker takes requests, as far as its answers tell."""
        return (
            self.worker is not None and self.answering and self.worker.ready_now and self.worker.unanswered < DOUBTFUL
        )

    def ask(self) -> None:
        """Asks its worker whether it answers, or kills it if it hasn't for too long.

        Questions are counted, and not seconds: while the supervisor doesn't run either, as on a machine that was
        suspended or is far too busy, no time passes.
        """
        worker, patience = self.worker, self._config.process.hang_seconds
        if worker is None or worker.exited.is_set():
            return
        if patience and not worker.ready:
            patience = max(patience, START_SECONDS)
        if not patience or worker.unanswered * ASK_SECONDS < patience:
            worker.ask()
            return
        logger.error("worker %d hasn't answered for %g s, and is killed", worker.pid, patience)
        worker.unanswered = 0
        worker.kill()
        if self._metrics:
            self._metrics.hung()

    async def run(self) -> None:
        """Runs one worker after another until the server stops; an error here stops the server.

        Raises:
            StartupError: the first worker refuses to start.
            CrashLoop: too many workers in a row ended before they were steady, and no other slot's worker answers.
        """
        failures, replaces = 0, ""
        try:
            while not self._stopping.is_set():
                failure = await self._run_worker(replaces)
                if self.worker is not None:
                    replaces = f" in place of {self.worker.pid}"
                failures = failures + 1 if failure else 0
                if failures >= len(PAUSES) and not any(slot.answering for slot in self._slots):
                    raise CrashLoop(
                        f"{failures} workers in a row ended before they had answered for {STEADY_SECONDS:g} s, "
                        f"the last with {failure}; the log has the earlier ones"
                    )
                await _first_of(self._stopping, seconds=PAUSES[min(failures, len(PAUSES) - 1)])
        finally:
            self._stopping.set()

    async def _run_worker(self, replaces: str) -> str:
        """Runs one worker from its start to its exit; gives the cause if it failed early, else an empty text."""
        # 1. Start it and wait for its report.
        try:
            worker = self.worker = _Worker(self._config, self._initializer)
        except OSError as error:  # too many processes or open files
            logger.warning("a worker can't be started: %s", error)
            return str(error)
        except StartupError as error:
            if not self.ready.is_set():
                raise
            logger.warning("a worker can't be started: %s", error)
            return str(error)
        logger.info("worker %d starts%s", worker.pid, replaces)
        await _first_of(worker.reported, self._stopping)
        if worker.ready:
            logger.info("worker %d is ready", worker.pid)
            self.ready.set()
        # 2. Let it serve until it exits or the server stops.
        steady = worker.ready and not await _first_of(worker.exited, self._stopping, seconds=STEADY_SECONDS)
        await _first_of(worker.exited, self._stopping)
        # 3. Stop it, by force if it takes too long.
        worker.stop()
        if not await _first_of(worker.exited, seconds=self._stop_seconds):
            logger.error("worker %d hangs, and is killed", worker.pid)
            worker.kill()
            await worker.exited.wait()
        # 4. Settle what it leaves behind.
        stopping = self._stopping.is_set()
        if self._metrics:
            self._metrics.ended(self._number, unasked=not stopping)
        if worker.refusal and not (self.ready.is_set() or stopping):
            raise worker.refusal  # the caller logs it, once
        level = logging.INFO if stopping else logging.WARNING
        logger.log(level, "worker %d ended with %s", worker.pid, worker.exit_cause)
        return "" if steady or stopping else worker.exit_cause


async def _first_of(*events: asyncio.Event, seconds: float | None = None) -> bool:
    """Waits until one of the events is set, for at most `seconds`; gives whether one was set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    done, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    return bool(done)


def _start(
    its_end: "Connection[Report, object]",
    our_end: "Connection[object, Report]",
    config: ServerConfig,
    initializer: Callable[[], None],
) -> "subprocess.Popen[bytes]":
    """Starts a worker's process, with its end of the line, the modules of this one and its settings.

    Raises:
        StartupError: it would refuse to start.
        OSError: it can't be started.
    """
    if config.frontend is FrontendKind.ENVOY and config.grpc.tls is None:
        from vitrine.server.process.envoy import start_envoy

        return start_envoy(config, its_end, initializer)
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, *FLAGS, "-P", "-m", PROGRAM, str(its_end.fileno())],
        stdin=subprocess.DEVNULL,  # a terminal is the supervisor's alone
        pass_fds=[its_end.fileno()],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    with suppress(OSError):  # it has exited already, and is reaped next
        our_end.send((config, initializer))
    return process


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Blocks SIGINT, so that processes started here don't receive a terminal's Ctrl-C: the supervisor stops them.

    A new process inherits what is blocked.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _reap_all(slots: Sequence[_Slot]) -> None:
    """Collects the exit statuses of all workers that have ended, and of orphans: one signal may tell of several."""
    for slot in slots:
        if slot.worker is not None:
            try:
                slot.worker.reap()
            except Exception:
                logger.exception("worker %d has ended, and its last report can't be read", slot.worker.pid)
    _reap_orphans(slots)


def _reap_orphans(slots: Sequence[_Slot]) -> None:
    """Collects processes whose parents have died: the system hands them to a container's first process.

    Workers that are killed leave some. Their own exit statuses are left to `_reap_all`.
    """
    if os.getpid() != FIRST_PROCESS:
        return
    workers = {slot.worker.pid for slot in slots if slot.worker is not None}
    with suppress(ChildProcessError):  # there are no children at all
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid in workers:
                return
            os.waitpid(ended.si_pid, 0)


def _send_all(slots: Sequence[_Slot], message: bytes) -> None:
    for slot in slots:
        if slot.worker is not None and slot.worker.unanswered < DOUBTFUL:  # the line to a stopped one could fill up
            slot.worker.send(message)


def _kill_all(slots: Sequence[_Slot]) -> None:
    for slot in slots:
        if slot.worker is not None:
            slot.worker.kill()
