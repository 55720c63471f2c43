"""Builds the source distribution and the wheel into dist/, checks them, and tries the wheel in clean environments.

The wheel is built from the source distribution, as an installer does it. Each Python that is there gets an environment
of its own outside the source tree: first the client alone, then the server. It publishes nothing.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
"""The versions of Python that the distribution promises."""


def main() -> None:
    """Builds and checks, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="the folder for both files")
    out: Path = parser.parse_args().out
    wheel, source = build(out)
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, source)
    pythons = dict(find_pythons())
    for version in PYTHONS:
        if version in pythons:
            try_wheel(wheel, pythons[version])
        else:
            print(f"Python {version}: not on this machine, not tried")
    if not pythons:
        sys.exit(f"no Python of {', '.join(PYTHONS)} is here to try the wheel with")


def build(out: Path) -> tuple[Path, Path]:
    """Builds both files, in place of those of earlier builds; returns wheel and source distribution."""
    for old in (*out.glob("*.whl"), *out.glob("*.tar.gz")):
        old.unlink()
    run(sys.executable, "-m", "build", "--outdir", out, ROOT)
    (wheel,), (source,) = out.glob("*.whl"), out.glob("*.tar.gz")
    for file in (source, wheel):
        print(f"{file.name}: {file.stat().st_size / 1e6:.2f} MB")
    return wheel, source


def find_pythons() -> Iterator[tuple[str, Path]]:
    """The promised versions of Python on this machine: on the PATH, or among pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    for version in PYTHONS:
        on_path = shutil.which(f"python{version}")
        candidates = [*([Path(on_path)] if on_path else []), *sorted(pyenv.glob(f"{version}.*/bin/python"))]
        for python in candidates:
            if version_of(python) == version:
                yield version, python
                break


def version_of(python: Path) -> str:
    """The version of an interpreter, such as 3.11; empty if it doesn't run (a shim of pyenv's may not)."""
    asked = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run([python, "-c", asked], capture_output=True, text=True).stdout.strip()


def try_wheel(wheel: Path, python: Path) -> None:
    """Installs the wheel with an interpreter, and has `try_wheel.py` use it as client, and then as server."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    with tempfile.TemporaryDirectory() as scratch:
        for file in (ROOT / "examples" / "eight.png", ROOT / "release" / "try_wheel.py"):
            shutil.copy(file, scratch)
        run(python, "-m", "venv", Path(scratch, "environment"))
        clean = Path(scratch, "environment", "bin", "python")
        for extra in ("", "[server]"):
            run(clean, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}{extra}")
            run(clean, "try_wheel.py", version, *(["--server"] if extra else []), folder=Path(scratch))


def run(*command: str | Path, folder: Path | None = None) -> None:
    """Runs a command without this process's Python settings; ends the program if it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VITRINE_"))}
    if subprocess.run(command, cwd=folder, env=environment).returncode != 0:
        sys.exit(f"failed: {' '.join(map(str, command))}")


if __name__ == "__main__":
    main()
