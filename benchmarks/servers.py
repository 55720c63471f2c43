"""Starts `vitrine-server` in a process of its own, for the benchmarks beside this module."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
"""A channel's options: otherwise all channels of a process to one address share a connection, and with it a worker."""

READY = "vitrine-server listening on "
PROGRAM = "from vitrine.server.cli import main; main()"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready to answer."""

    target: str
    """HOST:PORT."""
    process: subprocess.Popen[str]
    """Its process."""

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.target.rpartition(":")[2])

    def cpu_seconds(self) -> float:
        """The CPU time that it has taken so far, with that of its workers; Linux only."""
        ticks = sum(sum(_cpu_ticks(pid)) for pid in _family(self.process.pid))
        return ticks / os.sysconf("SC_CLK_TCK")

    def stop(self) -> int:
        """Asks it to stop, and gives its exit status."""
        self.process.terminate()
        return self.process.wait()


def start(*settings: str, port: int = 0, source: str = "", log: IO[str] | int | None = None) -> Server:
    """Starts a server, and waits until it is ready.

    Args:
        settings: its arguments.
        port: the port; 0 takes a free one.
        source: the source tree that it comes from; empty: what this Python has installed.
        log: where its standard error goes; None: where that of this process goes.
    """
    command = [sys.executable, "-c", PROGRAM, *settings, "--port", str(port)]
    environment = os.environ | _search_path(source)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    if process.stdout is None:
        raise RuntimeError("the server has no standard output")
    said = process.stdout.readline()
    if not said.startswith(READY):
        sys.exit(f"the server didn't start, it said {said!r}")
    return Server(said.removeprefix(READY).strip(), process)


@contextmanager
def running(*settings: str, source: str = "", log: IO[str] | int | None = None) -> Iterator[Server]:
    """A server that is stopped at the end."""
    server = start(*settings, source=source, log=log)
    try:
        yield server
    finally:
        server.stop()


def _family(pid: int) -> Iterator[int]:
    """A process and all that descend from it; see proc(5)."""
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _family(int(child))


def _cpu_ticks(pid: int) -> tuple[int, int]:
    """The time in the program and in the kernel for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])


def _search_path(source: str) -> dict[str, str]:
    roots = [str(Path(source, root).resolve()) for root in ("protos", "model", "server")]
    return {"PYTHONPATH": os.pathsep.join(roots)} if source else {}
