"""Makes virtual environments for what tests need and can't share a process with, and runs scripts there.

Every copy of the open protocol's stubs claims the same names, and Kubernetes' schemas are large. An environment is made
once, under `.venvs`, and again when its file of requirements changes. Where it can't be made (there is no network),
what needs it is skipped, unless VITRINE_REQUIRE_CLIENTS is set, as `make test` does: then that is a failure.
"""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parents[1] / ".venvs"
PATIENCE_SECONDS = 120
"""How long a script may take before a test gives it up; never waited for when all is well."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment with the packages of `requirements/NAME.txt`."""

    name: str
    """Which one."""
    shares: bool = False
    """It has this environment's packages, too, where it has none of its own."""

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self._folder / "bin" / "python"

    @property
    def _folder(self) -> Path:
        return ENVIRONMENTS / self.name

    @property
    def _requirements(self) -> Path:
        return HERE / "requirements" / f"{self.name}.txt"

    def make(self) -> None:
        """Sees to it that it is there and up to date; ends the test when it can't be."""
        with _alone(self.name):
            if not self._is_made():
                self._install()

    def run(self, script: Path, *arguments: str | Path) -> Any:
        """Runs a script there; gives the JSON that it prints."""
        return json.loads(self.says(str(script), *map(str, arguments)))

    def says(self, *arguments: str, folder: Path | None = None) -> str:
        """What its interpreter prints with these arguments, when it is run in that folder."""
        command = [str(self.python), "-E", "-s", *arguments]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def _is_made(self) -> bool:
        mark = self._folder / ".made"
        return mark.exists() and mark.read_text() == self._digest()

    def _install(self) -> None:
        venv.create(self._folder, clear=True, with_pip=True)
        # Everything is pinned, so there is nothing to resolve. Of clients, little is imported, so nothing is compiled.
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", *([] if self.shares else ["--no-compile"])]
        command = [str(self.python), "-E", "-m", "pip", "install", *options, "-r", str(self._requirements)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode != 0:
            _give_up(f"{self._requirements.name} can't be installed: {ran.stderr.strip()[-2000:]}")
        if self.shares:
            self._share()
        (self._folder / ".made").write_text(self._digest())

    def _share(self) -> None:
        """Adds this environment's packages and commands, behind its own."""
        (packages,) = self._folder.glob("lib/python*/site-packages")
        (packages / "shared.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
        for command in Path(sys.executable).parent.glob("vitrine*"):
            (self.python.parent / command.name).symlink_to(command)

    def _digest(self) -> str:
        return hashlib.sha256(f"{sys.version}\n{self._requirements.read_text()}".encode()).hexdigest()


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Keeps the other processes of a parallel test run waiting."""
    ENVIRONMENTS.mkdir(exist_ok=True)
    with (ENVIRONMENTS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _give_up(reason: str) -> None:
    if os.environ.get("VITRINE_REQUIRE_CLIENTS"):
        pytest.fail(reason)
    pytest.skip(reason)
