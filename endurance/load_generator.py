"""Closed and open loops of calls from client processes on their own CPUs. It knows no server but its target.

Requests are bytes that were made once, so that a call costs its client little.
"""

import asyncio
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
import grpc.aio
import numpy as np
import numpy.typing as npt

from benchmarks.harness.servers import OWN_CONNECTION

CLASSIFY = "/vitrine.v1.ClassifierService/Classify"
CHANNELS = 8
"""Channels of each client process."""

PATIENCE_SECONDS = 20
START_SECONDS = 5.0
"""Time for client processes to start before the first request is due."""

EXPECTED = (grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED)
"""Expected ends of a call: accepted or refused."""

Seconds: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Load:
    """Requests, and the processes that send them."""

    target: str
    """HOST:PORT."""
    request: bytes
    """Serialized `ClassifyRequest`."""
    cpus: tuple[int, ...]
    """CPUs of the client processes."""
    processes: int
    """Number of client processes."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Outcomes of calls."""

    codes: Counter[str]
    """Calls by status code."""
    unexpected: set[str]
    """Messages of errors that aren't refusals."""
    latencies: Seconds
    """Time from due to answered, for accepted calls."""
    refusals: Seconds
    """The same for refused calls."""
    lateness: Seconds
    """Time from due to sent, for all calls."""
    seconds: float
    """Time from the first due moment to the last."""

    @property
    def goodput(self) -> float:
        """Accepted calls per second."""
        return self.codes["OK"] / self.seconds

    @property
    def offered(self) -> float:
        """Calls per second."""
        return self.codes.total() / self.seconds


def closed_loop(load: Load, seconds: float, callers: int) -> Calls:
    """`callers` callers in all, each of which sends its next call after each answer."""
    each = [callers // load.processes + (i < callers % load.processes) for i in range(load.processes)]
    return _in_processes(load, seconds, [(_closed, count) for count in each if count])


def open_loop(load: Load, seconds: float, rate: float) -> Calls:
    """Calls at random times drawn beforehand, `rate` per second on average, whatever their outcome."""
    return _in_processes(load, seconds, [(_open, rate / load.processes)] * load.processes)


Loop: TypeAlias = Callable[["_Client", float, float, float, int], Awaitable[None]]
"""A loop of calls: client, callers or rate, moment of the first call, seconds, seed."""


def _in_processes(load: Load, seconds: float, parts: Sequence[tuple[Loop, float]]) -> Calls:
    begin = time.monotonic() + START_SECONDS
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(parts), context) as pool:
        running = [
            pool.submit(_client_process, load, loop, amount, begin, seconds, number)
            for number, (loop, amount) in enumerate(parts)
        ]
        return _joined([future.result() for future in running], seconds)


def _joined(parts: Sequence[Calls], seconds: float) -> Calls:
    codes: Counter[str] = sum((part.codes for part in parts), Counter())
    unexpected = {text for part in parts for text in part.unexpected}
    columns = zip(*((part.latencies, part.refusals, part.lateness) for part in parts), strict=True)
    latencies, refusals, lateness = map(np.concatenate, columns)
    return Calls(codes, unexpected, latencies, refusals, lateness, seconds)


def _client_process(load: Load, loop: Loop, amount: float, begin: float, seconds: float, number: int) -> Calls:
    """Body of one process: pins itself to its CPUs, and sends."""
    os.sched_setaffinity(0, load.cpus)
    return asyncio.run(_send(load, loop, amount, begin, seconds, number))


async def _send(load: Load, loop: Loop, amount: float, begin: float, seconds: float, number: int) -> Calls:
    channels = [grpc.aio.insecure_channel(load.target, OWN_CONNECTION) for _ in range(CHANNELS)]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    client = _Client(load.request, channels)
    if (wait := begin - time.monotonic()) < 0:
        raise RuntimeError(f"a client process started {-wait:.1f} s too late: raise START_SECONDS")
    await asyncio.sleep(wait)
    await loop(client, amount, begin, seconds, number)
    await asyncio.gather(*(channel.close() for channel in channels))
    return client.calls(seconds)


async def _closed(client: "_Client", callers: float, begin: float, seconds: float, _: int) -> None:
    async def call_until_end() -> None:
        while (now := time.monotonic()) < begin + seconds:
            await client.call(now)

    await asyncio.gather(*(call_until_end() for _ in range(int(callers))))


async def _open(client: "_Client", rate: float, begin: float, seconds: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    due = begin + np.cumsum(rng.exponential(1 / rate, int(rate * seconds * 1.5) + 10))
    async with asyncio.TaskGroup() as calls:
        for moment in due[due < begin + seconds].tolist():
            if (wait := moment - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            calls.create_task(client.call(moment))


class _Client:
    """Sends one request over and over, and records each call's outcome."""

    def __init__(self, request: bytes, channels: Sequence[grpc.aio.Channel]) -> None:
        self._request = request
        self._methods: list[Any] = [channel.unary_unary(CLASSIFY) for channel in channels]
        self._codes: Counter[str] = Counter()
        self._unexpected: set[str] = set()
        self._accepted: list[float] = []
        self._refused: list[float] = []
        self._lateness: list[float] = []

    async def call(self, due: float) -> None:
        """One call that was due at a moment of the monotonic clock."""
        method = self._methods[len(self._lateness) % len(self._methods)]
        self._lateness.append(time.monotonic() - due)
        try:
            await method(self._request, timeout=PATIENCE_SECONDS)
            code = grpc.StatusCode.OK
        except grpc.aio.AioRpcError as error:
            code = error.code()
            if code not in EXPECTED:
                self._unexpected.add(f"{code.name}: {error.details()}")
        self._codes[code.name] += 1
        (self._accepted if code is grpc.StatusCode.OK else self._refused).append(time.monotonic() - due)

    def calls(self, seconds: float) -> Calls:
        """Everything recorded."""
        accepted, refused, late = map(np.array, (self._accepted, self._refused, self._lateness))
        return Calls(self._codes, self._unexpected, accepted, refused, late, seconds)
