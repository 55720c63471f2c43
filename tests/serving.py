"""Runs the real `vitrine-server` in a process of its own, as an operator would, and talks to it over a real socket."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vitrine.server.access import ANYONE
from vitrine.server.call import Call

READY = "vitrine-server listening on "
SERVER = Path(sys.executable).with_name("vitrine-server")
PATIENCE_SECONDS = 60
"""How long a server may take to say something before a test gives it up; never waited for when all is well."""


@dataclass(frozen=True)
class RunningServer:
    """A server that is ready to answer."""

    target: str
    """HOST:PORT."""
    process: subprocess.Popen[str]
    """Its process."""

    def stop(self) -> int:
        """Asks it to stop as an orchestrator does, and gives its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)


@contextmanager
def running_server(*arguments: str | Path, **environment: str) -> Iterator[RunningServer]:
    """A server on a free port, stopped at the end; `environment` is added to this process's own."""
    with logged_server(None, *arguments, **environment) as server:
        yield server


@contextmanager
def logged_server(log: IO[str] | None, *arguments: str | Path, **environment: str) -> Iterator[RunningServer]:
    """The same, with its standard error in a file; None: where this process has its own."""
    with subprocess.Popen(
        [SERVER, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=_environment(environment),
    ) as process:
        try:
            server = RunningServer(_address(process), process)
            yield server
            if process.poll() is None:
                server.stop()
        finally:
            process.kill()


def _address(process: subprocess.Popen[str]) -> str:
    """Where the server listens; waits until it says so, or has ended."""
    assert process.stdout is not None
    said, _, _ = select.select([process.stdout], [], [], PATIENCE_SECONDS)
    line = process.stdout.readline() if said else "nothing"
    assert line.startswith(READY), f"the server didn't start, it said: {line!r}"
    return line.removeprefix(READY).strip()


def _environment(settings: dict[str, str]) -> dict[str, str]:
    """This process's own environment, without settings that a developer has, and with those of a test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VITRINE_")}
    return kept | {"VITRINE_PORT": "0"} | settings


def a_call() -> Call:
    """A call of a caller who may do everything but change the server, for tests that call a service themselves."""
    return Call("/test/Test", ANYONE)


def refused_start(*arguments: str | Path, **environment: str) -> str:
    """What a server that refuses to start says on standard error; it must exit with 1 and no traceback."""
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
