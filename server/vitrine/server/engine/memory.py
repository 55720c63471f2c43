"""Memory that this process may still take: a container's limit can be below the machine's memory."""

from collections.abc import Iterator
from pathlib import Path

from vitrine.server.engine.cgroups import MEMBERSHIP, MOUNT, groups, lines, words

MEMINFO = Path("/proc/meminfo")
"""Linux's account of the machine's memory, in KiB."""

FILES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
"""A group's limit and use in bytes, in versions 2 and 1."""

RECLAIMABLE = ("inactive_file", "total_inactive_file")
"""Bytes of a group's use that are files kept for later, in versions 2 and 1: they give way."""


def free_memory(meminfo: Path = MEMINFO, membership: Path = MEMBERSHIP, mount: Path = MOUNT) -> int | None:
    """Bytes that may still be taken; None where the system doesn't tell."""
    return min([*_of_machine(meminfo), *_of_groups(membership, mount)], default=None)


def _of_machine(meminfo: Path) -> Iterator[int]:
    for line in lines(meminfo):
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            yield int(value.split()[0]) << 10


def _of_groups(membership: Path, mount: Path) -> Iterator[int]:
    for folder in groups("memory", membership, mount):
        for limit, use in FILES:
            most, used = words(folder / limit), words(folder / use)
            if most and used and most[0] != "max":
                yield max(0, int(most[0]) - int(used[0]) + _reclaimable(folder))


def _reclaimable(folder: Path) -> int:
    counts = dict(line.split() for line in lines(folder / "memory.stat"))
    return max((int(counts[name]) for name in RECLAIMABLE if name in counts), default=0)
