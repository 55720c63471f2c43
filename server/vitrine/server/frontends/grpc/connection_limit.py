"""Numbers of connections that a process takes, whatever its front end: it loads no gRPC."""

import resource

from vitrine.server.inference.connections import CONNECTIONS, ConnectionConfig

FILES_RATIO = 0.75
"""Part of the files that the process may open, for connections; the rest is for models, logs and metrics."""


def momentary(config: ConnectionConfig) -> int:
    """The connections that may be open for a moment: idle ones beyond `max_connections` are closed soon."""
    most = max_connections(config)
    return most + max(16, most // 8)


def max_connections(config: ConnectionConfig) -> int:
    """The connections that may be open: as set, or a part of the files that the process may open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        files = CONNECTIONS.most
    return config.max_connections or max(1, int(min(files, CONNECTIONS.most) * FILES_RATIO))
