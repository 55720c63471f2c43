"""Closed and open loops of calls from one thread over some connections: the same client for every server.

Latencies of an open loop count from the moment at which a call was due, so that a server that falls behind can't hide
it. It knows neither HTTP's versions nor messages.
"""

import select
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from socket import socket
from typing import Protocol, TypeAlias

import numpy as np

WARM_UP = 0.25
"""Part of the measured time that a loop runs before it is measured."""

PATIENCE_SECONDS = 30.0
"""Seconds to wait for the next answer. A server that needs longer hangs."""


class Connection(Protocol):
    """Sends one request over and over; see `http2` and `http1`."""

    socket: socket

    @property
    def waits_to_send(self) -> bool:
        """Bytes are left that the socket didn't take."""

    @property
    def pending(self) -> int:
        """Calls that have no answer yet."""

    def call(self, due: float) -> None:
        """Starts a call that was due at a moment."""

    def flush(self) -> None:
        """Sends what may be sent."""

    def read(self) -> Iterator[tuple[float, bool]]:
        """Reads what has come; gives each finished call's moment, and whether it is good."""

    def close(self) -> None:
        """Ends the connection."""


Connect: TypeAlias = Callable[[], Connection]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a loop saw while it was measured."""

    good_per_second: float
    """Good answers that came while it was measured, to calls that were due before, too."""
    offered_per_second: float
    """Calls that were due; in a closed loop those that ended."""
    bad: int
    """Calls that were refused or failed."""
    p50_ms: float
    """Latency of good calls in milliseconds: the median."""
    p99_ms: float
    """The 99th percentile."""


class _Tally:
    """Answers that came from the moment `begin` until `end`, and latencies of calls that were due from `begin` on."""

    def __init__(self, begin: float, end: float) -> None:
        self._begin, self._end = begin, end
        self.latencies: list[float] = []
        self.good = self.bad = 0

    def note(self, due: float, now: float, good: bool) -> None:
        self.good += good and self._begin <= now <= self._end
        if due < self._begin:
            return
        if good:
            self.latencies.append(now - due)
        else:
            self.bad += 1

    def outcome(self, seconds: float, offered: int | None = None) -> Outcome:
        milliseconds = np.array(self.latencies or [np.nan]) * 1000
        p50, p99 = np.percentile(milliseconds, (50, 99)).tolist()
        ended = len(self.latencies) + self.bad
        offered = ended if offered is None else offered
        return Outcome(self.good / seconds, offered / seconds, self.bad, p50, p99)


def closed_loop(connect: Connect, connections: int, calls: int, seconds: float) -> Outcome:
    """Each of `connections` has `calls` under way at all times, for `seconds` after a warm-up."""
    with _opened(connect, connections) as opened:
        begin = time.perf_counter() + WARM_UP * seconds
        end = begin + seconds
        tally = _Tally(begin, end)
        for connection in opened:
            for _ in range(calls):
                connection.call(time.perf_counter())
            connection.flush()
        while (now := time.perf_counter()) < end:
            for connection in _readable(opened, end - now):
                now = time.perf_counter()
                for due, good in connection.read():
                    tally.note(due, now, good)
                    connection.call(now)
                connection.flush()
        return tally.outcome(seconds)


def open_loop(connect: Connect, connections: int, rate: float, seconds: float, seed: int = 0) -> Outcome:
    """Calls at random times drawn beforehand, `rate` per second on average, whatever becomes of them."""
    with _opened(connect, connections) as opened:
        start = time.perf_counter()
        begin, end = start + WARM_UP * seconds, start + (1 + WARM_UP) * seconds
        moments = np.random.default_rng(seed).exponential(1 / rate, int(2 * rate * seconds) + 100).cumsum() + start
        due: list[float] = moments[moments < end].tolist()
        tally, sent, last = _Tally(begin, end), 0, end
        while sent < len(due) or any(connection.pending for connection in opened):
            now = time.perf_counter()
            if now > last + PATIENCE_SECONDS:
                raise TimeoutError(f"calls are left without an answer {PATIENCE_SECONDS:g} s after the last one")
            touched = set()
            while sent < len(due) and due[sent] <= now:
                opened[sent % len(opened)].call(due[sent])
                touched.add(sent % len(opened))
                sent += 1
            for number in touched:
                opened[number].flush()
            wait = due[sent] - time.perf_counter() if sent < len(due) else PATIENCE_SECONDS
            for connection in _readable(opened, max(0.0, wait)):
                for moment, good in connection.read():
                    now = time.perf_counter()
                    tally.note(moment, now, good)
                    last = max(end, now)
                connection.flush()
        return tally.outcome(seconds, sum(moment >= begin for moment in due))


@contextmanager
def _opened(connect: Connect, count: int) -> Iterator[Sequence[Connection]]:
    opened = [connect() for _ in range(count)]
    try:
        yield opened
    finally:
        for connection in opened:
            connection.close()


def _readable(opened: Sequence[Connection], seconds: float) -> list[Connection]:
    """Connections with something to read, after up to `seconds`; meanwhile the others send what is left."""
    by_socket = {connection.socket: connection for connection in opened}
    unsent = [connection.socket for connection in opened if connection.waits_to_send]
    readable, writable, _ = select.select(by_socket, unsent, [], seconds)  # in microseconds; epoll knows milliseconds
    for found in writable:
        by_socket[found].flush()
    return [by_socket[found] for found in readable]
