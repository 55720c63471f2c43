"""A server process that is watched from outside: its memory, open files and threads, and what it logs of its faults.

Figures are summed over the process and its children, since a server may consist of several. It reads /proc: Linux only.
"""

import os
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import servers

FAULTS = (" ERROR ", " CRITICAL ", "incident", "Traceback")
"""What a server's log must have nothing of, however bad its input."""

KIB_PER_PAGE = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and its children hold at one moment."""

    rss_kib: int
    """Resident memory; what processes share counts for each of them."""
    files: int
    """Open files, sockets among them."""
    threads: int
    processes: int


@dataclass(frozen=True, slots=True)
class WatchedServer:
    """A server that is ready to answer."""

    target: str
    """HOST:PORT."""
    process: "subprocess.Popen[str]"
    log: Path
    """What it has written to standard error."""

    @property
    def alive(self) -> bool:
        """Whether the process that was started still runs."""
        return self.process.poll() is None

    def usage(self) -> Usage:
        """What it holds now."""
        each = [usage for pid in process_tree(self.process.pid) if (usage := _usage_of(pid))]
        return Usage(*(sum(getattr(usage, field) for usage in each) for field in Usage.__slots__))

    def faults(self) -> list[str]:
        """The lines of its log that tell of faults inside it."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if any(fault in line for fault in FAULTS)]

    def stop(self, patience_seconds: float) -> int:
        """Asks it to stop, and gives its exit status.

        Raises:
            subprocess.TimeoutExpired: it takes longer than that.
        """
        self.process.terminate()
        return self.process.wait(patience_seconds)


@contextmanager
def watched_server(*arguments: str | Path, cpus: Collection[int] = ()) -> Iterator[WatchedServer]:
    """A server on a free port, with its log in a file; it is killed at the end if it hasn't stopped by then.

    Args:
        arguments: those of `vitrine-server`.
        cpus: the CPUs that it may use; empty: all.
    """
    with TemporaryDirectory() as folder, Path(folder, "log").open("w") as log:
        with _on(cpus):
            server = servers.start(*map(str, arguments), log=log)
        try:
            yield WatchedServer(server.target, server.process, Path(log.name))
        finally:
            server.process.kill()
            server.process.communicate()


@contextmanager
def _on(cpus: Collection[int]) -> Iterator[None]:
    """This process on these CPUs, and whatever it starts meanwhile; none: as it is."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def process_tree(pid: int) -> list[int]:
    """A process and all below it; those that have just ended are left out."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return [pid]
    return [pid, *(below for child in children for below in process_tree(child))]


def _usage_of(pid: int) -> Usage | None:
    """What one process holds; None: it has ended."""
    process = Path(f"/proc/{pid}")
    try:
        resident = int((process / "statm").read_text().split()[1]) * KIB_PER_PAGE
        return Usage(resident, len(os.listdir(process / "fd")), len(os.listdir(process / "task")), 1)  # noqa: PTH208
    except OSError:
        return None
