"""Kills workers under load, and counts failed and wrong answers: there should be none.

    python -m endurance.worker_kills [--workers 2] [--calls 20000] [--kills 20] [--json]

Each caller has the SDK's own retries, a connection of its own and an image of its own, and checks each answer. When all
workers are ready, one of them is killed with SIGKILL, again and again, until there were enough calls and kills. It
prints how calls ended, and the time from a kill to the replacement's start and readiness. It exits with 1 when a call
failed, an answer was wrong, or the server's exit status wasn't 0.
"""

import json
import os
import queue
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import click
import numpy as np

from benchmarks.harness.machine import machine
from benchmarks.harness.rounds import with_progress
from benchmarks.harness.servers import Server, running
from benchmarks.harness.summary import Summary
from endurance.frontend import frontend_option
from endurance.report import as_lines
from vitrine.client import Client, VitrineError

PATIENCE_SECONDS = 60
STARTED = re.compile(r"worker (\d+) starts in place of")
READY = re.compile(r"worker (\d+) is ready")


@dataclass(frozen=True, slots=True)
class Replacement:
    """Seconds from a kill to two events."""

    started: float
    """The supervisor started the replacement."""
    ready: float
    """The replacement is ready to answer."""


@dataclass(frozen=True, slots=True)
class Workers:
    """Process ids from the server's log, as they come."""

    started: "queue.SimpleQueue[int]" = field(default_factory=queue.SimpleQueue)
    """Replacements that were started."""
    ready: "queue.SimpleQueue[int]" = field(default_factory=queue.SimpleQueue)
    """Workers that are ready to answer."""

    def follow(self, log: Iterable[str]) -> None:
        """Reads the log until its end."""
        for line in log:
            if found := STARTED.search(line):
                self.started.put(int(found[1]))
            elif found := READY.search(line):
                self.ready.put(int(found[1]))


@dataclass
class Tally:
    """Observations of all callers."""

    right: int = 0
    wrong: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    longest_seconds: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def calls(self) -> int:
        """All calls so far."""
        return self.right + self.wrong + self.failed.total()

    def count(self, outcome: bool | VitrineError, seconds: float) -> None:
        """Counts a call: a right or wrong digit, or an error."""
        with self.lock:
            self.longest_seconds = max(self.longest_seconds, seconds)
            if isinstance(outcome, VitrineError):
                self.failed[repr(outcome)] += 1
            elif outcome:
                self.right += 1
            else:
                self.wrong += 1


@click.command()
@frontend_option
@click.option("--workers", default=2, show_default=True, help="Workers of the server.")
@click.option("--callers", default=8, show_default=True, help="Calls in flight.")
@click.option("--calls", default=20_000, show_default=True, help="Calls at least.")
@click.option("--kills", default=20, show_default=True, help="Kills at least.")
@click.option("--pause-seconds", default=4.0, show_default=True, help="Seconds from a replacement to the next kill.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def main(workers: int, callers: int, calls: int, kills: int, pause_seconds: float, as_json: bool) -> None:
    """Kill workers under load, and print how the calls ended."""
    tally, enough, followed = Tally(), threading.Event(), Workers()
    with running("--workers", str(workers), log=subprocess.PIPE) as server, ThreadPoolExecutor(callers + 1) as pool:
        pool.submit(followed.follow, server.process.stderr or ())
        alive = [followed.ready.get(timeout=PATIENCE_SECONDS) for _ in range(workers)]
        calling = [pool.submit(call_until, server, seed, enough, tally) for seed in range(callers)]
        try:
            replacements = [
                kill_one(alive, followed, pause_seconds) for _ in with_progress(range(kills), "killing", length=kills)
            ]
            while tally.calls < calls:
                replacements.append(kill_one(alive, followed, pause_seconds))
        finally:
            enough.set()
        for call in calling:
            call.result()
        status = server.stop()
    figures = figures_of(tally, replacements, {"workers": workers, "callers": callers, "exit_status": status})
    click.echo(json.dumps(figures) if as_json else as_lines(figures))
    sys.exit(bool(tally.failed or tally.wrong or status))


def call_until(server: Server, seed: int, enough: threading.Event, tally: Tally) -> None:
    """One caller: sends the next call after each answer. The first answer, before any kill, is the right one."""
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


def kill_one(alive: list[int], workers: Workers, pause_seconds: float) -> Replacement:
    """Kills a worker after a pause, and waits for its replacement."""
    time.sleep(pause_seconds)
    victim = alive.pop(random.randrange(len(alive)))
    begin = time.perf_counter()
    os.kill(victim, signal.SIGKILL)
    workers.started.get(timeout=PATIENCE_SECONDS)
    started = time.perf_counter() - begin
    alive.append(workers.ready.get(timeout=PATIENCE_SECONDS))
    return Replacement(started, time.perf_counter() - begin)


def figures_of(tally: Tally, replacements: Sequence[Replacement], settings: dict[str, int]) -> dict[str, Any]:
    """Everything that is printed, as plain data."""
    started = Summary.of([replacement.started * 1e3 for replacement in replacements])
    ready = Summary.of([replacement.ready * 1e3 for replacement in replacements])
    return {
        **machine("onnxruntime", "grpcio"),
        **settings,
        "calls_right": tally.right,
        "calls_wrong": tally.wrong,
        "calls_failed": tally.failed.total(),
        "failures": dict(tally.failed.most_common(5)),
        "longest_call_ms": tally.longest_seconds * 1e3,
        "kills": len(replacements),
        "started_after_ms": started.text(0),
        "ready_after_ms": ready.text(0),
    }


if __name__ == "__main__":
    main()
