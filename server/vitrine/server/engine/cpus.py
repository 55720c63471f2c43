"""Number of CPUs that this process may use: a container's quota can be below the machine's CPUs."""

import os
from collections.abc import Iterator
from pathlib import Path

MEMBERSHIP = Path("/proc/self/cgroup")
"""Linux's list of the control groups of a process: `NUMBER:CONTROLLERS:PATH` on each line."""

MOUNT = Path("/sys/fs/cgroup")
"""Mount point of control groups. In a container it shows the container's own group, whatever its path outside."""


def usable_cpus(membership: Path = MEMBERSHIP, mount: Path = MOUNT) -> int:
    """The CPUs that this process may use, at least 1; a part of one doesn't count."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # not on macOS
    return max(1, int(min([allowed, *_quotas(membership, mount)])))


def _quotas(membership: Path, mount: Path) -> Iterator[float]:
    """The CPU time that each group around this process may take, in CPUs; see cgroups(7)."""
    for folder in _groups(membership, mount):
        quota = _words(folder / "cpu.max") or [  # version 2: QUOTA PERIOD, or max PERIOD; version 1 has a file for each
            *_words(folder / "cpu.cfs_quota_us"),
            *_words(folder / "cpu.cfs_period_us"),
        ]
        if len(quota) == 2 and quota[0] not in ("max", "-1"):
            yield int(quota[0]) / int(quota[1])


def _groups(membership: Path, mount: Path) -> Iterator[Path]:
    """The folders that may hold a quota: the process's own groups, and those around them."""
    for line in _lines(membership):
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "cpu" in controllers.split(","):
            root = mount / controllers
            own = root / path.lstrip("/")
            yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(root))


def _words(file: Path) -> list[str]:
    return " ".join(_lines(file)).split()


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
