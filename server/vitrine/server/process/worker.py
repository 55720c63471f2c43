"""A worker: a process that serves beside others on one port, until its supervisor stops it or is gone.

Both are one event, the end of the line between the two. A signal could reach a worker twice, when a service manager
signals every process of the service, and the second would cut the drain short.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TypeAlias

from vitrine.server.errors import StartupError
from vitrine.server.process.config import FrontendKind, ServerConfig
from vitrine.server.process.signals import leave

Report: TypeAlias = str | StartupError
"""The one message of a worker: its address when it is ready to answer, or the reason why it refuses to start."""


def work(config: ServerConfig, line: "Connection[Report, None]", initializer: Callable[[], None]) -> None:
    """Serves, and ends the process.

    Args:
        config: the settings.
        line: carries the report; the supervisor never sends anything.
        initializer: called first, to set up the process's own log.
    """
    initializer()
    try:
        if config.frontend is FrontendKind.ENVOY:
            from vitrine.server.process.envoy import become_envoy

            become_envoy(config, line, initializer)
        asyncio.run(_serve(config, line))
    except StartupError as error:
        _report(line, error)
        leave(1)
    leave()


async def _serve(config: ServerConfig, line: "Connection[Report, None]") -> None:
    from vitrine.server.process.lifecycle import serve  # gRPC and ONNX Runtime, which the supervisor does without

    stopping = asyncio.Event()
    loop, end = asyncio.get_running_loop(), line.fileno()

    def hang_up() -> None:
        loop.remove_reader(end)
        stopping.set()

    loop.add_reader(end, hang_up)
    await serve(config, lambda address: _report(line, address), stopping)


def _report(line: "Connection[Report, None]", report: Report) -> None:
    with suppress(BrokenPipeError):  # the supervisor is gone, which `hang_up` notices
        line.send(report)
