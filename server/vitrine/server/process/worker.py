"""A worker: a process that serves beside others on one port, until its supervisor stops it or is gone."""

from collections.abc import Callable
from multiprocessing.connection import Connection

from vitrine.server.errors import StartupError
from vitrine.server.process.config import FrontendKind, ServerConfig
from vitrine.server.process.event_loop import run
from vitrine.server.process.line import Line, Report, limit_end, report
from vitrine.server.process.parent import resume_without_parent
from vitrine.server.process.signals import leave


def work(config: ServerConfig, line: "Connection[Report, bytes]", initializer: Callable[[], None]) -> None:
    """Serves, and ends the process.

    Args:
        config: the settings.
        line: carries questions one way and reports the other.
        initializer: called first, to set up the process's own log.
    """
    resume_without_parent()
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
