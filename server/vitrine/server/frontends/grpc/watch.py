"""Watches gRPC's connections: measures what arrives by them, and closes those that hold too much or too long.

`inference.connections` decides; here is how it is done where gRPC's core offers no way.
"""

import asyncio
import logging
import resource

from vitrine.server.frontends.grpc import sockets
from vitrine.server.inference.connections import SURPLUS, Connection, ConnectionConfig, Connections
from vitrine.server.observers import suppress_and_log

logger = logging.getLogger(__name__)

STEP_SECONDS = 0.05
"""Seconds between two measurements: what can arrive meanwhile goes beyond the limit."""

STEPS_PER_COUNT = 10
"""Measurements before all connections are counted again."""

FILES_RATIO = 0.75
"""Part of the files that the process may open, for connections; the rest is for models, logs and metrics."""


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
        self._counted = 0.0
        self._most = max_connections(connections.config)

    async def run(self) -> None:
        """Watches until it is cancelled."""
        look = suppress_and_log(self._look, "gRPC's connections can't be watched for now")
        step = 0
        while True:
            look(step % STEPS_PER_COUNT == 0)
            step += 1
            await asyncio.sleep(STEP_SECONDS)

    def _look(self, counting: bool) -> None:
        waiting = [connection for connection in self._connections.waiting() if not connection.front_end]
        if counting or any(self._is_new(connection) for connection in waiting):
            self._count()
        now = self._connections.clock()
        for connection in waiting:
            file = self._sockets.get(connection.name)
            received = None if file is None else sockets.received_bytes(connection.name, file)
            if received is not None:
                connection.measure(received, now)
        for connection, reason in self._connections.sweep():
            self._close(connection.name, reason)

    def _is_new(self, connection: Connection) -> bool:
        return connection.name not in self._sockets and connection.active > self._counted

    def _count(self) -> None:
        """Finds all connections, and closes some when they are too many."""
        self._counted = self._connections.clock()
        self._sockets = sockets.open_sockets(self._port)
        self._connections.keep_only(self._sockets.keys())
        for name in self._connections.surplus(self._sockets.keys(), self._most):
            self._close(name, SURPLUS)

    def _close(self, name: str, reason: str) -> None:
        file = self._sockets.pop(name, None)
        if file is not None and sockets.close(name, file):
            self._connections.closed[reason] += 1
            logger.debug("closed a connection: %s", reason)


def momentary(config: ConnectionConfig) -> int:
    """The connections that may be open for a moment: idle ones beyond `max_connections` are closed soon."""
    most = max_connections(config)
    return most + max(16, most // 8)


def max_connections(config: ConnectionConfig) -> int:
    """The connections that may be open: as set, or a part of the files that the process may open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return config.max_connections or max(1, int(files * FILES_RATIO))
