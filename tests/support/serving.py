"""Runs the real `vitrine-server` in its own process, as an operator would. It knows no metrics and no repository."""

import gc
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from benchmarks.harness.servers import READY
from vitrine.server.inference.call import Call
from vitrine.server.security.access import ANYONE

Seen = TypeVar("Seen")

SERVER = Path(sys.executable).with_name("vitrine-server")
FRONTEND = os.environ.get("TEST_FRONTEND", "grpc")
"""The front end of all servers that tests start: the whole suite passes through each."""

PATIENCE_SECONDS = 60
"""Time limit for a server's reaction; reached only by tests that fail."""

LOOK_SECONDS = 0.01
"""Pause between two looks at what tells no one that it has changed: without it, the test takes the server's CPU."""


@dataclass(frozen=True)
class RunningServer:
    """A server that is ready to answer."""

    target: str
    """HOST:PORT."""
    process: subprocess.Popen[str]

    def stop(self) -> int:
        """Sends SIGTERM, as an orchestrator does, waits for the end, and gives the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)


@contextmanager
def running_server(*arguments: str | Path, **environment: str) -> Iterator[RunningServer]:
    """A server on a free port, stopped at the end; `environment` extends this process's environment."""
    with logged_server(None, *arguments, **environment) as server:
        yield server


@contextmanager
def logged_server(
    log: IO[str] | None, *arguments: str | Path, program: Sequence[str | Path] = (SERVER,), **environment: str
) -> Iterator[RunningServer]:
    """The same with its standard error in a file; None: this process's standard error."""
    with launched_server(log, *arguments, program=program, **environment) as process:
        server = RunningServer(_address(process), process)
        yield server
        if process.poll() is None:
            server.stop()


@contextmanager
def launched_server(
    log: IO[str] | None, *arguments: str | Path, program: Sequence[str | Path] = (SERVER,), **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """A server that may not be ready yet, first process of its own group, as a shell starts it."""
    with subprocess.Popen(
        [*program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=_environment(environment),
        start_new_session=True,
    ) as process:
        try:
            yield process
        except BaseException:  # a test has failed: leave no workers behind
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            process.kill()


def becomes(look: Callable[[], Seen], expected: Seen) -> Seen:
    """What is seen: at once, or behind Envoy as soon as it is as expected, since its files are looked at in turns."""
    return comes(look, expected, PATIENCE_SECONDS if FRONTEND == "envoy" else 0)


def comes(look: Callable[[], Seen], expected: Seen, seconds: float = PATIENCE_SECONDS) -> Seen:
    """What is seen as soon as it is as expected: lines of a log have a thread of their own, for example."""
    until = time.monotonic() + seconds
    while (seen := look()) != expected and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
    return seen


def is_let_go(watched: weakref.ref[Any]) -> bool:
    """True as soon as nothing holds an object any more. A pool's thread holds its last job for a moment."""

    def has_gone() -> bool:
        gc.collect()
        return watched() is None

    return comes(has_gone, expected=True)


class Log:
    """Lines written to a pipe, collected as they come."""

    def __init__(self, lines: IO[str]) -> None:
        self._said: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, args=(lines,))
        self._reader.start()

    def wait_for(self, pattern: str, times: int = 1) -> list[str]:
        """Waits until a pattern has matched `times` times, and gives each match's group."""
        with self._changed:
            said = self._changed.wait_for(lambda: len(self.all(pattern)) >= times, PATIENCE_SECONDS)
            assert said, f"not {times} times {pattern!r} in:\n{self.text}"
            return self.all(pattern)

    def wait_for_the_end(self) -> str:
        """Waits until no process has the pipe open for writing, and gives the whole text."""
        self._reader.join(PATIENCE_SECONDS)
        assert not self._reader.is_alive(), f"a process is left:\n{self.text}"
        return self.text

    def all(self, pattern: str) -> list[str]:
        """The group of each match of a pattern so far."""
        return re.findall(pattern, self.text)

    @property
    def text(self) -> str:
        """All text so far."""
        return "".join(self._said)

    def _read(self, lines: IO[str]) -> None:
        for line in lines:
            with self._changed:
                self._said.append(line)
                self._changed.notify_all()


@contextmanager
def open_log() -> Iterator[tuple[IO[str], Log]]:
    """A pipe for the logs of processes, and its text; the processes must have ended at the end."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as lines:
        log = Log(lines)
        try:
            with os.fdopen(writing, "w") as pipe:
                yield pipe, log
        finally:
            log.wait_for_the_end()


def _address(process: subprocess.Popen[str]) -> str:
    """HOST:PORT of a server; waits until it prints it, or has ended."""
    assert process.stdout is not None
    said, _, _ = select.select([process.stdout], [], [], PATIENCE_SECONDS)
    line = process.stdout.readline() if said else "nothing"
    assert line.startswith(READY), f"the server didn't start, it said: {line!r}"
    return line.removeprefix(READY).strip()


def _environment(settings: dict[str, str]) -> dict[str, str]:
    """This process's environment without the developer's settings, with those of a test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VITRINE_", "OTEL_"))}
    return kept | {"VITRINE_PORT": "0", "VITRINE_FRONTEND": FRONTEND} | settings


def a_call() -> Call:
    """A call with every permission but that to change the server, for tests that call a service directly."""
    return Call("/test/Test", ANYONE)


def refused_start(*arguments: str | Path, **environment: str) -> str:
    """Standard error of a server that refuses to start; it must exit with 1 and without a traceback."""
    finished = subprocess.run(
        [SERVER, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        env=_environment(environment),
    )
    assert finished.returncode == 1, finished.stderr
    assert "Traceback" not in finished.stderr
    return finished.stderr
