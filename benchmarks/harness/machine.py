"""Hardware and versions that a measurement belongs to: a number without them says little."""

import os
import platform
from importlib.metadata import version


def machine(*packages: str) -> dict[str, str | int]:
    """Processor, number of CPUs, Python, and versions of these packages."""
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cpus": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def machine_line(*packages: str) -> str:
    """The same in one line."""
    return ", ".join(f"{name} {value}" for name, value in machine(*packages).items())
