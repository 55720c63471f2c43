"""Memory that this process may still take: a container's limit can be below the machine's memory."""

import ctypes
import errno
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from vitrine.model import ArtifactError
from vitrine.server.engine.cgroups import MEMBERSHIP, MOUNT, groups, lines, words

MEMINFO = Path("/proc/meminfo")
"""Linux's account of the machine's memory, in KiB."""

FILES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
"""A group's limit and use in bytes, in versions 2 and 1."""

RECLAIMABLE = ("inactive_file", "total_inactive_file")
"""Bytes of a group's use that are files kept for later, in versions 2 and 1: they give way."""

M_MMAP_THRESHOLD = -3
"""The number of glibc's setting."""

LARGE_BLOCK_BYTES = 1 << 20
"""Bytes from which on a block has a mapping of its own."""


def free_memory(meminfo: Path = MEMINFO, membership: Path = MEMBERSHIP, mount: Path = MOUNT) -> int | None:
    """Bytes that may still be taken; None where the system doesn't tell."""
    return min([*_of_machine(meminfo), *_of_groups(membership, mount)], default=None)


def check_memory(size: int, needed: int) -> None:
    """Refuses a file that there is no memory for, before it is read. It is tried again: memory may be freed.

    Args:
        size: the file's bytes.
        needed: the bytes of memory that loading it takes.

    Raises:
        ArtifactError: they aren't free; its cause is an OSError.
    """
    free = free_memory()
    if free is not None and needed > free:
        full = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        raise ArtifactError(
            f"it has {size >> 20:,} MiB, and loading it takes about {needed >> 20:,} MiB of memory, which aren't free: "
            "give the server more, or serve a smaller model"
        ) from full


def return_large_blocks() -> None:
    """Has glibc return each freed block of 1 MiB or more to the system, from now on; see mallopt(3).

    By itself it would keep the blocks of a large model's largest run, for blocks of their size.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)


def return_free_memory() -> None:
    """Has glibc return the memory to the system that is free now; see malloc_trim(3)."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


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
