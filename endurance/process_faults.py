"""Stops, jams and crowds a server's processes, and measures what callers see and how long it lasts.

    python -m endurance.process_faults [stopped_worker unread_log half_requests] [--program PATH] [--json]

- `stopped_worker`: of two workers one is stopped with SIGSTOP; new callers connect all the time. Then the supervisor is
  killed while another worker is stopped.
- `unread_log`: standard error is a full pipe that nobody reads, at level debug.
- `half_requests`: at `nofile` 1024, 1,015 requests on the metrics' port are begun and never finished. Then a worker is
  killed.

It exits with 1 when a caller failed after the fault was over, a fault wasn't over in time, or a server didn't end.
"""

import json
import os
import re
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import click
import numpy as np

from benchmarks.harness.processes import cpu_seconds
from benchmarks.harness.servers import VITRINE_SERVER, Server, start
from endurance.frontend import frontend_option
from endurance.report import as_lines
from vitrine.client import Client, VitrineError

PATIENCE_SECONDS = 30.0
"""Seconds after which a fault counts as one that is never over."""

CALL_SECONDS = 2.0
CALLERS = 40
FILES, HALF_REQUESTS = 1024, 1015
IMAGE = np.zeros((18, 18), np.uint8)


@dataclass(frozen=True, slots=True)
class Workers:
    """A server of two workers, with metrics."""

    server: Server
    log: Path

    def found(self, pattern: str) -> list[str]:
        """The group of each match in the log so far."""
        return re.findall(pattern, self.log.read_text())

    @property
    def ready(self) -> list[int]:
        """The processes of all workers that have been ready."""
        return [int(pid) for pid in self.found(r"worker (\d+) is ready")]

    @property
    def metrics(self) -> str:
        """The address of the metrics."""
        return self.found(r"metrics are at (\S+)")[0]


@contextmanager
def two_workers(program: Path, files: int = FILES) -> Iterator[Workers]:
    """A server of two workers with so many files; all of its processes are killed at the end."""
    flags = ("--workers", "2", "--metrics-port", "0")
    with tempfile.TemporaryDirectory() as folder, Path(folder, "log").open("w") as log:
        server = start("-c", f'ulimit -n {files}; exec "$0" "$@"', program, *flags, program=Path("/bin/bash"), log=log)
        workers = Workers(server, Path(log.name))
        try:
            seconds_until(lambda: len(workers.ready) == 2, time.monotonic())  # a thread writes the log
            yield workers
        finally:
            started = [int(pid) for pid in workers.found(r"worker (\d+) starts")]
            for pid in (server.process.pid, *started):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            server.process.communicate()


def stopped_worker(program: Path) -> dict[str, Any]:
    """Stops a worker, and one whose supervisor is killed."""
    with two_workers(program) as workers:
        stuck, other = workers.ready
        os.kill(stuck, signal.SIGSTOP)
        begin = time.monotonic()
        failed = failed_calls(workers.server.target)
        ready_shown = scraped(workers, "vitrine_ready")
        replaced = seconds_until(lambda: len(workers.ready) == 3, begin)
        failed_after = failed_calls(workers.server.target)
        os.kill(other, signal.SIGSTOP)
        os.kill(workers.server.process.pid, signal.SIGKILL)
        gone = seconds_until(lambda: not has_process(other), time.monotonic())
    return {
        "failed_calls": failed,
        "ready_shown": ready_shown,
        "replaced_after_s": replaced,
        "failed_calls_after": failed_after,
        "orphan_gone_after_s": gone,
    }


def unread_log(program: Path) -> dict[str, Any]:
    """Serves with a log that nobody reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    os.read(reading, 16_384)  # room for the first lines
    server = start("--log-level", "debug", program=program, log=writing)
    try:
        failed = failed_calls(server.target)
        begin = time.monotonic()
        server.process.terminate()
        ended = seconds_until(lambda: not server.alive, begin)
    finally:
        server.process.kill()
        server.process.communicate()
        os.close(reading)
        os.close(writing)
    return {"failed_calls": failed, "ended_after_sigterm_s": ended}


def half_requests(program: Path) -> dict[str, Any]:
    """Crowds the metrics' port, and kills a worker."""
    with two_workers(program) as workers, crowd(workers.metrics):
        pid, begin = workers.server.process.pid, time.monotonic()
        cpu = cpu_seconds(pid)
        failed = failed_calls(workers.server.target)
        share = (cpu_seconds(pid) - cpu) / (time.monotonic() - begin)
        scrape = scraped(workers, "vitrine_ready")
        begin = time.monotonic()
        os.kill(workers.ready[0], signal.SIGKILL)
        replaced = seconds_until(lambda: len(workers.ready) == 3, begin)
    return {"failed_calls": failed, "cpus_used": share, "ready_shown": scrape, "replaced_after_s": replaced}


@contextmanager
def crowd(metrics: str) -> Iterator[None]:
    """Requests on the metrics' port that are begun and never finished."""
    host, port = re.findall(r"//(.*):(\d+)/", metrics)[0]
    with ExitStack() as connections:
        for _ in range(HALF_REQUESTS):
            with suppress(OSError):  # no descriptor is left for it, or it is closed already
                connection = connections.enter_context(socket.create_connection((host, int(port)), CALL_SECONDS))
                connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
        yield


def failed_calls(target: str) -> str:
    """Calls that fail, of so many, each on a connection of its own and without retries."""
    failed = 0
    for _ in range(CALLERS):
        with Client(target, timeout=CALL_SECONDS, retries=0) as client:
            try:
                client.classify(IMAGE, preparation="none")
            except VitrineError:
                failed += 1
    return f"{failed} of {CALLERS}"


def scraped(workers: Workers, name: str) -> str:
    """A metric's value, or that there is none to be had."""
    try:
        with urlopen(workers.metrics, timeout=CALL_SECONDS) as answer:
            text: str = answer.read().decode()
            return str(re.findall(rf"^{name} (\S+)$", text, re.MULTILINE)[0])
    except OSError as error:
        return f"no answer: {error}"


def seconds_until(so: Callable[[], bool], begin: float) -> float:
    """Seconds from `begin` until a condition holds; infinity if that takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not so():
        if time.monotonic() > deadline:
            return float("inf")
        time.sleep(0.02)
    return time.monotonic() - begin


def has_process(pid: int) -> bool:
    """True while a process runs or is stopped."""
    with suppress(OSError):
        return " Z" not in Path(f"/proc/{pid}/stat").read_text()
    return False


FAULTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    fault.__name__: fault for fault in (stopped_worker, unread_log, half_requests)
}


@click.command()
@frontend_option
@click.argument("names", nargs=-1, type=click.Choice([*FAULTS]))
@click.option("--program", type=click.Path(path_type=Path), default=VITRINE_SERVER, help="The server's executable.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def main(names: Sequence[str], program: Path, as_json: bool) -> None:
    """Stop, jam and crowd a server's processes."""
    figures = {name: FAULTS[name](program) for name in names or FAULTS}
    click.echo(json.dumps(figures, indent=2) if as_json else as_lines(figures))
    sys.exit(not all(good(measured) for measured in figures.values()))


def good(measured: dict[str, Any]) -> bool:
    """True if every fault was over, and no caller failed but by a worker that was stopped."""
    over = all(value != float("inf") for value in measured.values() if isinstance(value, float))
    failed = measured.get("failed_calls_after", measured["failed_calls"])
    return over and failed.startswith("0 ")


if __name__ == "__main__":
    main()
