"""Watches gRPC's connections: measures what arrives by them, and closes those that hold too much or too long.

`inference.connections` decides; here is how it is done where gRPC's core offers no way.
"""

import asyncio
import logging

from vitrine.server.frontends.grpc import sockets
from vitrine.server.frontends.grpc.connection_limit import max_connections
from vitrine.server.frontends.grpc.receiving import network_of
from vitrine.server.inference.connections import SURPLUS, Connection, Connections
from vitrine.server.observers import suppress_and_log

logger = logging.getLogger(__name__)

STEP_SECONDS = 0.05
"""Seconds between two measurements: what can arrive meanwhile goes beyond the limit."""

COUNT_SECONDS = 0.5
"""Seconds before all connections are counted again."""


class ConnectionWatch:
    """Watches the connections of a gRPC server.

    Args:
        connections: the account of them.
        port: where they were accepted.
    """

    def __init__(self, connections: Connections, port: int) -> None:
        self._connections = connections
        self._port = port
        self._sockets: dict[str, int] = {}
        self._counting: asyncio.Future[dict[str, int]] | None = None
        self._counted = 0.0
        self._most = max_connections(connections.config)
        self._end_count = suppress_and_log(self._close_surplus, "gRPC's connections can't be counted for now")
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts to watch, on the event loop that runs."""
        self._running = asyncio.create_task(self.run())
        self._running.add_done_callback(_log_death)

    def stop(self) -> None:
        """Ends the watch; does nothing where it wasn't started."""
        if self._running is not None:
            self._running.cancel()

    async def run(self) -> None:
        """Watches until it is cancelled."""
        look = suppress_and_log(self._look, "gRPC's connections can't be watched for now")
        while True:
            look(self._connections.clock())
            await asyncio.sleep(STEP_SECONDS)

    def _look(self, now: float) -> None:
        waiting = [connection for connection in self._connections.waiting() if not connection.front_end]
        if self._counting is None and (
            now >= self._counted + COUNT_SECONDS or any(self._is_new(connection) for connection in waiting)
        ):
            self._start_count(now)
        for connection in waiting:
            file = self._sockets.get(connection.name)
            received = None if file is None else sockets.received_bytes(connection.name, file)
            if received is not None:
                connection.measure(received, now)
        for found in self._connections.sweep():
            self._close(found.connection.name, found.reason)

    def _is_new(self, connection: Connection) -> bool:
        return connection.name not in self._sockets and connection.active > self._counted

    def _start_count(self, now: float) -> None:
        """Finds all connections, in a thread: of thousands, that takes longer than calls can wait."""
        self._counted = now
        self._counting = asyncio.get_running_loop().run_in_executor(None, sockets.open_sockets, (self._port,))
        self._counting.add_done_callback(self._end_count)

    def _close_surplus(self, found: "asyncio.Future[dict[str, int]]") -> None:
        """Closes some connections when they are too many."""
        self._counting = None
        if found.cancelled():
            return
        self._sockets = found.result()
        self._connections.keep_only(self._sockets.keys(), self._counted)
        for name in self._connections.surplus(self._sockets.keys(), self._most, network_of):
            self._close(name, SURPLUS)

    def _close(self, name: str, reason: str) -> None:
        file = self._sockets.pop(name, None)
        if file is not None and sockets.close(name, file):
            self._connections.closed[reason] += 1
            logger.debug("closed a connection: %s", reason)


def _log_death(watch: "asyncio.Task[None]") -> None:
    if not watch.cancelled() and (error := watch.exception()):
        logger.error("gRPC's connections aren't watched any more: restart this server", exc_info=error)
