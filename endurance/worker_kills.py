"""How many calls fail while workers are killed under load: none should.

    python benchmarks/worker_kills.py [--workers 2] [--calls 20000]

Callers with the SDK's own retries call all the time, each over a connection of its own and with an image of its own,
and check each answer. When all workers are ready, one of them is killed with SIGKILL, again and again, until there
were enough calls and enough kills. It exits with 1 when a call failed or gave another digit.
"""

import os
import platform
import queue
import random
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version as version_of

import click
import numpy as np

from benchmarks.harness.servers import Server, running
from vitrine.client import Client, VitrineError

PATIENCE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Wait:
    """How many seconds passed between a kill and two events."""

    started: float
    """The supervisor has started the replacement."""
    ready: float
    """The replacement is ready to answer."""


@dataclass(frozen=True, slots=True)
class Log:
    """What the server's log says of its workers: their process ids, as it happens."""

    started: "queue.SimpleQueue[int]" = field(default_factory=queue.SimpleQueue)
    """Replacements that were started."""
    ready: "queue.SimpleQueue[int]" = field(default_factory=queue.SimpleQueue)
    """Workers that are ready to answer."""


@dataclass
class Tally:
    """What the callers noticed."""

    right: int = 0
    wrong: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    """How many seconds the longest call took."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def calls(self) -> int:
        """All calls so far."""
        return self.right + self.wrong + self.failed.total()

    def count(self, outcome: bool | VitrineError, seconds: float) -> None:
        """Counts a call: whether its digit was right, or how it failed."""
        with self.lock:
            self.longest = max(self.longest, seconds)
            if isinstance(outcome, VitrineError):
                self.failed[repr(outcome)] += 1
            elif outcome:
                self.right += 1
            else:
                self.wrong += 1


@click.command()
@click.option("--workers", default=2, help="How many workers the server has.")
@click.option("--callers", default=8, help="How many calls are under way at once.")
@click.option("--calls", default=20_000, help="How many calls there are at least.")
@click.option("--kills", default=20, help="How many kills there are at least.")
@click.option("--every", default=4.0, help="How many seconds after the last replacement was ready the next is killed.")
def main(workers: int, callers: int, calls: int, kills: int, every: float) -> None:
    """Kill workers under load, and print how the calls ended."""
    tally, enough, waits = Tally(), threading.Event(), list[Wait]()
    log = Log()
    with running("--workers", str(workers), log=subprocess.PIPE) as server, ThreadPoolExecutor(callers + 1) as pool:
        pool.submit(follow, server.process.stderr or (), log)
        alive = [log.ready.get(timeout=PATIENCE_SECONDS) for _ in range(workers)]
        calling = [pool.submit(call_until, server, seed, enough, tally) for seed in range(callers)]
        begin = time.perf_counter()
        try:
            while tally.calls < calls or len(waits) < kills:
                time.sleep(every)
                waits.append(kill_one(alive, log))
        finally:
            enough.set()
            seconds = time.perf_counter() - begin
        for call in calling:
            call.result()
        status = server.stop()
    report(tally, waits, seconds, workers, callers, status)
    sys.exit(bool(tally.failed or tally.wrong or status))


def follow(lines: Iterable[str], log: Log) -> None:
    """Reads the server's log, and hands on which worker starts and which is ready."""
    for line in lines:
        if found := re.search(r"worker (\d+) starts in place of", line):
            log.started.put(int(found[1]))
        elif found := re.search(r"worker (\d+) is ready", line):
            log.ready.put(int(found[1]))


def call_until(server: Server, seed: int, enough: threading.Event, tally: Tally) -> None:
    """One caller: one call after the other. The first digit of its image, before anyone is killed, is the right one."""
    pixels = np.random.default_rng(seed).integers(0, 256, (18, 18), dtype=np.uint8)
    with Client(server.target) as client:
        right = client.classify(pixels, preparation="none").digit
        while not enough.is_set():
            begin = time.perf_counter()
            outcome: bool | VitrineError
            try:
                outcome = client.classify(pixels, preparation="none").digit == right
            except VitrineError as error:
                outcome = error
            tally.count(outcome, time.perf_counter() - begin)


def kill_one(alive: list[int], log: Log) -> Wait:
    """Kills a worker, and waits for the one that replaces it."""
    victim = alive.pop(random.randrange(len(alive)))
    begin = time.perf_counter()
    os.kill(victim, signal.SIGKILL)
    log.started.get(timeout=PATIENCE_SECONDS)
    started = time.perf_counter() - begin
    alive.append(log.ready.get(timeout=PATIENCE_SECONDS))
    return Wait(started, time.perf_counter() - begin)


def report(tally: Tally, waits: list[Wait], seconds: float, workers: int, callers: int, status: int) -> None:
    """Prints the figures."""
    python = platform.python_version()
    print(f"machine   {platform.machine()}, {platform.system()}, {os.cpu_count()} CPUs, Python {python}")
    print(f"versions  onnxruntime {version_of('onnxruntime')}, grpcio {version_of('grpcio')}")
    print(f"load      {callers} callers on {workers} workers for {seconds:.0f} s, with the SDK's own retries")
    print(f"calls     {tally.calls}: {tally.right} right, {tally.wrong} wrong, {tally.failed.total()} failed")
    print(f"longest   {tally.longest * 1e3:.0f} ms")
    print(f"kills     {len(waits)}")
    for name in ("started", "ready"):
        after = [getattr(wait, name) * 1e3 for wait in waits]
        print(f"{name:9} after {statistics.median(after):.0f} ms (p50), {max(after):.0f} ms (max)")
    print(f"at last   SIGTERM, exit status {status}")
    for failure, times in tally.failed.most_common(5):
        print(f"failed    {times} times {failure}")


if __name__ == "__main__":
    main()
