"""A worker: a process that serves beside others on one port, until its supervisor asks it to leave, or is gone.

Both are the same event, the end of the line between the two. A signal would reach a worker twice where a service's
every process gets it, and the second would cut the drain short.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TypeAlias

from vitrine.server.errors import StartupError
from vitrine.server.process.config import ServerConfig
from vitrine.server.process.signals import leave

Report: TypeAlias = str | StartupError
"""What a worker says once on the line: its address when it is ready to answer, or why it refuses to start."""


def work(config: ServerConfig, line: "Connection[Report, None]", initializer: Callable[[], None]) -> None:
    """Serves; the process ends with it.

    Args:
        config: the settings.
        line: where the report goes; the supervisor never sends anything.
        initializer: called first of all, to set up what a process has of its own, such as its log.
    """
    initializer()
    try:
        asyncio.run(_serve(config, line))
    except StartupError as error:
        _report(line, error)
        leave(1)
    leave()


async def _serve(config: ServerConfig, line: "Connection[Report, None]") -> None:
    from vitrine.server.process.lifecycle import serve  # gRPC and ONNX Runtime, which the supervisor does without

    asked_to_leave = asyncio.Event()
    loop, end = asyncio.get_running_loop(), line.fileno()

    def hang_up() -> None:
        loop.remove_reader(end)
        asked_to_leave.set()

    loop.add_reader(end, hang_up)
    await serve(config, lambda address: _report(line, address), asked_to_leave)


def _report(line: "Connection[Report, None]", report: Report) -> None:
    with suppress(BrokenPipeError):  # nobody is there any more, which `hang_up` hears
        line.send(report)
