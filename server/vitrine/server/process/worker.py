"""A worker: a process that serves beside others on one port, until its supervisor stops it or is gone.

Both are one event, the end of the line between the two. A signal could reach a worker twice, when a service manager
signals every process of the service, and the second would cut the drain short.
"""

import asyncio
import logging
import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TypeAlias

from vitrine.server.errors import StartupError
from vitrine.server.process.config import ServerConfig
from vitrine.server.process.parent import resume_without_parent
from vitrine.server.process.signals import leave

logger = logging.getLogger(__name__)

Report: TypeAlias = bool | StartupError
"""A message of a worker: its readiness, at each change and to each question, or the reason why it refuses to start."""

QUESTION, REREAD = b"?", b"reread"
"""The supervisor's messages: the question whether the event loop runs, which a `Report` answers, and that the model
repository is to be looked at now.
"""


def work(config: ServerConfig, line: "Connection[Report, None]", initializer: Callable[[], None]) -> None:
    """Serves, and ends the process.

    Args:
        config: the settings.
        line: carries questions one way and reports the other.
        initializer: called first, to set up the process's own log.
    """
    resume_without_parent()
    initializer()
    try:
        _limit_end(line.fileno(), config.process.stop_seconds)
        asyncio.run(_serve(config, line))
    except StartupError as error:
        _report(line, error)
        leave(1)
    leave()


async def _serve(config: ServerConfig, line: "Connection[Report, None]") -> None:
    from vitrine.server.process.lifecycle import serve  # gRPC and ONNX Runtime, which the supervisor does without

    stopping, reread, ready = asyncio.Event(), asyncio.Event(), False
    loop, end = asyncio.get_running_loop(), line.fileno()

    def hear() -> None:
        try:
            message = line.recv_bytes()
        except (EOFError, OSError):  # the supervisor has hung up, or is gone
            loop.remove_reader(end)
            stopping.set()
            return
        if message == REREAD:
            reread.set()
        else:
            _report(line, ready)

    def tell_ready(now: bool) -> None:
        nonlocal ready
        ready = now
        _report(line, now)

    loop.add_reader(end, hear)
    await serve(config, lambda _: None, stopping, tell_ready, reread)


def _report(line: "Connection[Report, None]", report: Report) -> None:
    with suppress(OSError):  # the supervisor is gone, which `hear` notices
        line.send(report)


def _limit_end(line: int, seconds: float) -> None:
    """Ends the process when the line has ended so many seconds ago, though its event loop may hang."""

    def end() -> None:
        waiting = select.poll()
        waiting.register(line, select.POLLRDHUP)
        waiting.poll()
        time.sleep(seconds)
        logger.error("worker %d hangs, and ends itself", os.getpid())
        leave(1)

    threading.Thread(target=end, name="end", daemon=True).start()
