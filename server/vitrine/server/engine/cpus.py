"""Number of CPUs that this process may use: a container's quota can be below the machine's CPUs."""

import os
from collections.abc import Iterator
from pathlib import Path

from vitrine.server.engine.cgroups import MEMBERSHIP, MOUNT, groups, words


def usable_cpus(membership: Path = MEMBERSHIP, mount: Path = MOUNT) -> int:
    """The CPUs that this process may use, at least 1; a part of one doesn't count."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # not on macOS
    return max(1, int(min([allowed, *_quotas(membership, mount)])))


def _quotas(membership: Path, mount: Path) -> Iterator[float]:
    """The CPU time that each group around this process may take, in CPUs."""
    for folder in groups("cpu", membership, mount):
        quota = words(folder / "cpu.max") or [  # version 2: QUOTA PERIOD, or max PERIOD; version 1 has a file for each
            *words(folder / "cpu.cfs_quota_us"),
            *words(folder / "cpu.cfs_period_us"),
        ]
        if len(quota) == 2 and quota[0] not in ("max", "-1"):
            yield int(quota[0]) / int(quota[1])
