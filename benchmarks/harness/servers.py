"""Starts `vitrine-server` in its own process, for benchmarks and endurance tests. It knows no calls."""

import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from benchmarks.harness import processes
from benchmarks.harness.processes import Usage

READY = "vitrine-server listening on "
"""First words on a server's standard output; its address follows."""

HTTP_PORT = re.compile(r"Connect and gRPC-Web are at \w+://(\S+)")
"""Words of a server's log about a port of its own for HTTP/1.1; group 1 is its address."""

VITRINE_SERVER = Path(sys.executable).with_name("vitrine-server")
"""Server of this Python environment."""

OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
"""Channel options: without them, all channels of a process to one address share a connection, and with it a worker."""

FAULTS = (" ERROR ", " CRITICAL ", "incident", "Traceback")
"""Marks of a fault inside the server: no line of its log may have one, whatever the input."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready to answer."""

    target: str
    """HOST:PORT."""
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        """Port on which it listens."""
        return int(self.target.rpartition(":")[2])

    @property
    def alive(self) -> bool:
        """False once its first process has ended."""
        return self.process.poll() is None

    def cpu_seconds(self) -> float:
        """CPU time used so far, including its workers'."""
        return processes.cpu_seconds(self.process.pid)

    def usage(self) -> Usage:
        """Memory, open files and threads held now, including its workers'."""
        return processes.usage(self.process.pid)

    def stop(self, patience_seconds: float | None = None) -> int:
        """Sends SIGTERM, waits for the end, and gives the exit status.

        Raises:
            subprocess.TimeoutExpired: the server still runs after `patience_seconds`; None waits for ever.
        """
        self.process.terminate()
        return self.process.wait(patience_seconds)


@dataclass(frozen=True, slots=True)
class LoggedServer(Server):
    """A server whose standard error goes to a file."""

    log: Path

    @property
    def http_target(self) -> str:
        """HOST:PORT where it speaks HTTP/1.1: a port of its own, which the log names, or the same one."""
        named = HTTP_PORT.search(self.log.read_text(errors="replace"))
        return named[1] if named else self.target

    def faults(self) -> list[str]:
        """Lines of the log that tell of a fault inside the server."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if any(fault in line for fault in FAULTS)]


def start(
    *arguments: str | Path, program: Path = VITRINE_SERVER, port: int = 0, log: IO[str] | int | None = None
) -> Server:
    """Starts a server and waits until it is ready.

    Args:
        arguments: arguments of `vitrine-server`.
        program: the executable, for instance that of another checkout.
        port: port to listen on; 0 takes a free one.
        log: destination of its standard error; None: this process's own.
    """
    command = [str(program), *map(str, arguments), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith(READY):
        process.kill()
        sys.exit(f"{program} didn't start: it printed {line!r} instead of {READY!r}")
    return Server(line.removeprefix(READY).strip(), process)


@contextmanager
def running(
    *arguments: str | Path, program: Path = VITRINE_SERVER, log: IO[str] | int | None = None
) -> Iterator[Server]:
    """A server on a free port, stopped at the end; arguments as for `start`."""
    server = start(*arguments, program=program, log=log)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def logged_server(*arguments: str | Path, cpus: Collection[int] = ()) -> Iterator[LoggedServer]:
    """A server on a free port with its log in a file; killed at the end if it still runs.

    Args:
        arguments: arguments of `vitrine-server`.
        cpus: CPUs that it may use; empty: all.
    """
    with TemporaryDirectory() as folder, Path(folder, "log").open("w") as log:
        with _pinned(cpus):
            server = start(*arguments, log=log)
        try:
            yield LoggedServer(server.target, server.process, Path(log.name))
        finally:
            server.process.kill()
            server.process.communicate()


@contextmanager
def _pinned(cpus: Collection[int]) -> Iterator[None]:
    """Pins this process, and what it starts meanwhile, to these CPUs; empty: leaves it as it is."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
