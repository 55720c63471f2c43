"""Resources of a process and its children, read from /proc: Linux only; see proc(5).

A server may consist of several processes, so that values are summed over the whole tree.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KIB_PER_PAGE = os.sysconf("SC_PAGE_SIZE") // 1024
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources held by a process and its children at one moment."""

    rss_kib: int
    """Resident memory; pages shared by several processes count for each of them."""
    files: int
    """Open files, including sockets."""
    threads: int
    processes: int

    def __str__(self) -> str:
        return f"{self.rss_kib / 1024:.0f} MiB, {self.files} files, {self.threads} threads, {self.processes} processes"


def usage(pid: int) -> Usage:
    """Resources held now by the process `pid` and its children."""
    each = [found for process in process_tree(pid) if (found := _usage_of(process))]
    return Usage(*(sum(getattr(found, field) for found in each) for field in Usage.__slots__))


def cpu_seconds(pid: int) -> float:
    """CPU time used so far by the process `pid` and its children, in user and kernel mode."""
    return sum(_cpu_ticks(process) for process in process_tree(pid)) / TICKS_PER_SECOND


def pss_kib(pid: int) -> int:
    """Proportional set size of a process and its children: memory in which a shared page counts once, in KiB."""
    return sum(_pss_kib(process) for process in process_tree(pid))


def process_tree(pid: int) -> list[int]:
    """Process ids of a process and its descendants; processes that have just ended are left out."""
    return [pid, *(descendant for child in _children(pid) for descendant in process_tree(child))]


def _children(pid: int) -> Iterator[int]:
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():  # a child belongs to the thread that started it
            yield from map(int, (task / "children").read_text().split())
    except OSError:
        return


def _usage_of(pid: int) -> Usage | None:
    """Resources of one process; None if it has ended."""
    process = Path(f"/proc/{pid}")
    try:
        resident = int((process / "statm").read_text().split()[1]) * KIB_PER_PAGE
        return Usage(resident, len(os.listdir(process / "fd")), len(os.listdir(process / "task")), 1)  # noqa: PTH208
    except OSError:
        return None


def _pss_kib(pid: int) -> int:
    """Proportional set size of one process; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _cpu_ticks(pid: int) -> int:
    """CPU time of one process, in clock ticks; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])  # utime + stime
