"""The control groups of this process: a container's limits can be below the machine's; see cgroups(7)."""

from collections.abc import Iterator
from pathlib import Path

MEMBERSHIP = Path("/proc/self/cgroup")
"""Linux's list of the control groups of a process: `NUMBER:CONTROLLERS:PATH` on each line."""

MOUNT = Path("/sys/fs/cgroup")
"""Mount point of control groups. In a container it shows the container's own group, whatever its path outside."""


def groups(controller: str, membership: Path = MEMBERSHIP, mount: Path = MOUNT) -> Iterator[Path]:
    """The folders that may hold a controller's limits: the process's own groups, and those around them."""
    for line in lines(membership):
        _, controllers, path = line.split(":", 2)
        if controllers == "" or controller in controllers.split(","):
            root = mount / controllers
            own = root / path.lstrip("/")
            yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(root))


def lines(file: Path) -> list[str]:
    """The lines of a file; none where it can't be read."""
    try:
        return file.read_text().splitlines()
    except OSError:
        return []


def words(file: Path) -> list[str]:
    """The words of a file; none where it can't be read."""
    return " ".join(lines(file)).split()
