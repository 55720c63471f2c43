"""A worker's end of the line to its supervisor: it answers questions, tells its readiness, and hears the end.

The end of the line, and no signal, tells a worker to stop. A signal could reach it twice, when a service manager
signals every process of the service, and the second would cut the drain short.
"""

import asyncio
import logging
import os
import select
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TypeAlias

from vitrine.server.errors import StartupError
from vitrine.server.process.signals import leave

logger = logging.getLogger(__name__)

Report: TypeAlias = bool | StartupError
"""A message of a worker: its readiness, at each change and to each question, or the reason why it refuses to start."""

QUESTION, REREAD = b"?", b"reread"
"""The supervisor's messages: the question whether the event loop runs, which a `Report` answers, and that the model
repository is to be looked at now.
"""


class Line:
    """The worker's end, to be used on its event loop.

    Args:
        connection: the line.
    """

    def __init__(self, connection: "Connection[Report, bytes]") -> None:
        self._connection = connection
        self._ready = False
        self.stopping = asyncio.Event()
        """Set when the supervisor has hung up, or is gone."""
        self.reread = asyncio.Event()
        """Set when the repository is to be looked at."""
        asyncio.get_running_loop().add_reader(connection.fileno(), self._hear)

    def tell_ready(self, now: bool) -> None:
        """Reports the readiness, now and to each question from now on."""
        self._ready = now
        report(self._connection, now)

    def _hear(self) -> None:
        try:
            message = self._connection.recv_bytes()
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self._connection.fileno())
            self.stopping.set()
            return
        if message == REREAD:
            self.reread.set()
        else:
            report(self._connection, self._ready)


def report(connection: "Connection[Report, bytes]", message: Report) -> None:
    """Sends a report."""
    with suppress(OSError):  # the supervisor is gone, which `Line` notices
        connection.send(message)


def limit_end(line: int, seconds: float) -> None:
    """Ends the process when the line has ended so many seconds ago, though its event loop may hang.

    Args:
        line: the line's open file.
        seconds: the time that stopping may take.
    """

    def end() -> None:
        waiting = select.poll()
        waiting.register(line, select.POLLRDHUP)
        waiting.poll()
        time.sleep(seconds)
        logger.error("worker %d hangs, and ends itself", os.getpid())
        leave(1)

    threading.Thread(target=end, name="end", daemon=True).start()
