"""Starts a server in a memory cgroup (version 1 or 2) where this user may make one; elsewhere RSS is only watched."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
IN_GROUP = 'echo $$ > "$VITRINE_CGROUP/cgroup.procs" && exec "$0" "$@"'
"""A shell's script: joins the group, and becomes the command that follows."""


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path | None]:
    """A cgroup that may have so much memory, without swap; None where there can be none."""
    second = (ROOT / "cgroup.controllers").exists()
    group = (ROOT if second else ROOT / "memory") / f"vitrine-attack-{os.getpid()}"
    limits = ("memory.max", "memory.swap.max") if second else ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
    try:
        group.mkdir()
        (group / limits[0]).write_text(str(limit_bytes))
    except OSError as error:
        print(f"no memory cgroup here ({error}): the server's memory is watched only", file=sys.stderr)
        yield None
        return
    with suppress(OSError):  # a kernel without accounting of swap
        (group / limits[1]).write_text("0" if second else str(limit_bytes))
    try:
        yield group
    finally:
        with suppress(OSError):
            group.rmdir()


def peak_bytes(group: Path) -> int:
    """The most memory that a group's processes have had, with the kernel's part of it."""
    names = ("memory.peak", "memory.max_usage_in_bytes")
    found = next((group / name for name in names if (group / name).exists()), None)
    return int(found.read_text()) if found else 0
