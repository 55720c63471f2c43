"""Makes a virtual environment for each server, from PyPI, and keeps it. It knows no server."""

import os
import subprocess
import venv
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path

CACHE = Path(os.environ.get("VITRINE_PEERS_CACHE", ".venvs/peers"))
"""Folder of the environments; the variable names another."""

MADE = ".made"
"""File in an environment with the packages that were installed there."""


class InstallationError(Exception):
    """An environment can't be made on this machine; the message says why."""


def environment(name: str, packages: Sequence[str], cache: Path = CACHE) -> Path:
    """The environment of a server, made when it isn't there, or has other packages.

    Raises:
        InstallationError: pip failed.
    """
    folder, wanted = (cache / name).resolve(), "\n".join(packages)
    made = folder / MADE
    if made.exists() and made.read_text() == wanted:
        return folder
    venv.create(folder, clear=True, with_pip=True)
    command = [
        str(folder / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        *packages,
    ]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        reasons = [line for line in finished.stderr.splitlines() if line.startswith("ERROR")]
        raise InstallationError(reasons[-1] if reasons else f"pip ended with {finished.returncode}")
    made.write_text(wanted)
    return folder


def version_in(folder: Path, package: str) -> str:
    """The version of a package in an environment; empty if it isn't there."""
    packages = next((folder / "lib").glob("python3*/site-packages"))
    found = (entry.version for entry in distributions(path=[str(packages)]) if entry.name.lower() == package.lower())
    return next(found, "")
