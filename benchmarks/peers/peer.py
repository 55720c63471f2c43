"""What is known of a server that is compared: its packages, its start, and the form of its requests."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"
"""The code that servers are given."""

MODEL_FILE, PORT = "PEER_MODEL", "PEER_PORT"
"""The variables with the ONNX file's path and the port, for the programs."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server runs."""

    environment: Path
    """Its virtual environment."""
    folder: Path
    """An empty folder of its own, its working directory."""
    model: Path
    """The ONNX file that it serves."""
    port: int
    """The port on which it shall listen, at 127.0.0.1. The two ports behind it are free, too."""

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.environment / "bin" / "python"

    @property
    def packages(self) -> Path:
        """The folder of its packages."""
        (found,) = (self.environment / "lib").glob("python3*/site-packages")
        return found


@dataclass(frozen=True, slots=True)
class Start:
    """How a server is started."""

    command: Sequence[str | Path]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables beside this process's own, `PEER_MODEL`, `PEER_PORT` and `PYTHONPATH`."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A server that is compared."""

    name: str
    """Its name in commands and files."""
    title: str
    """Its name in tables, without a version."""
    packages: Sequence[str]
    """Requirements of its environment; empty: it is this environment's."""
    start: Callable[[Place], Start]
    """Prepares its folder, and tells how it is started."""
    form: str
    """The form of its requests, a key of `requests.FORMS`."""
    version_of: str = ""
    """The package whose version is told."""
    note: str = ""
    """What a reader of its figures should know."""
    ours: bool = False
    """It is Vitrine."""
