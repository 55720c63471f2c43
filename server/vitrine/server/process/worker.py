"""A worker: a process that serves beside others on one port, until its supervisor stops it or is gone.

    python -m vitrine.server.process.worker FILE_DESCRIPTOR

The number is that of its line to the supervisor, whose first message is what to serve.
"""

import os
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from vitrine.server.errors import StartupError
from vitrine.server.process.config import FrontendKind, ServerConfig
from vitrine.server.process.event_loop import run
from vitrine.server.process.line import Line, Report, limit_end, report
from vitrine.server.process.parent import resume_without_parent
from vitrine.server.process.signals import leave


def main(descriptor: int) -> None:
    """Serves what the supervisor says; without a word of it, this process has nothing to do."""
    os.set_inheritable(descriptor, False)
    resume_without_parent()
    line: Connection[Report, Any] = Connection(descriptor)
    try:
        config, initializer = line.recv()
    except (EOFError, OSError):
        leave(1)
    work(config, line, initializer)


def work(config: ServerConfig, line: "Connection[Report, bytes]", initializer: Callable[[], None]) -> None:
    """Serves, and ends the process.

    Args:
        config: the settings.
        line: carries questions one way and reports the other.
        initializer: called first, to set up the process's own log.
    """
    initializer()
    try:
        if config.frontend is FrontendKind.ENVOY:
            from vitrine.server.process.envoy import become_envoy

            become_envoy(config, line, initializer)
        limit_end(line.fileno(), config.process.stop_seconds)
        run(_serve(config, line))
    except StartupError as error:
        report(line, error)
        leave(1)
    leave()


async def _serve(config: ServerConfig, connection: "Connection[Report, bytes]") -> None:
    from vitrine.server.process.lifecycle import serve  # gRPC and ONNX Runtime, which the supervisor does without

    line = Line(connection)
    await serve(config, lambda _: None, line.stopping, line.tell_ready, line.reread)


if __name__ == "__main__":
    main(int(sys.argv[1]))
