"""The reasons why an address can't be listened on, in words for operators."""

import errno
import socket

from vitrine.server.errors import StartupError
from vitrine.server.security.addresses import address_of

FLAGS = "--host and --port (VITRINE_HOST, VITRINE_PORT)"
"""The flags of the address that callers connect to."""

HTTP_FLAGS = "--host and --http-port (VITRINE_HOST, VITRINE_HTTP_PORT)"
"""The flags of the address for HTTP."""

REASONS = {
    errno.EADDRINUSE: "another program has the port",
    errno.EADDRNOTAVAIL: "the address isn't this machine's",
    errno.EACCES: "this user may not listen on that port",
}
"""The reasons by the system's error; others are said in the system's words."""


def cannot_listen(host: str, port: int, flags: str, error: OSError) -> StartupError:
    """The error for an address that can't be listened on.

    Args:
        host: the host.
        port: the port.
        flags: the flags that set both.
        error: the reason.
    """
    what = f"can't listen on {address_of(host, port)}"
    if isinstance(error, socket.gaierror):
        hint = ", and a port is no part of it" if ":" in host else ""
        return StartupError(f"{what}: {host!r} is no known name or address of a host{hint}; set {flags}")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return StartupError(f"{what}: too many files are open; allow more, by `ulimit -n` or systemd's LimitNOFILE")
    reason = REASONS.get(error.errno or 0, error.strerror or str(error))
    return StartupError(f"{what}: {reason}; name another with {flags}")


def bind_error(host: str, port: int, *, shares_port: bool) -> OSError | None:
    """The system's error for an address, found by trying it; None: it could be listened on."""
    try:
        for family, kind, _, _, address in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_PASSIVE):
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if shares_port:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                probe.bind(address)
                probe.listen()
    except OSError as error:
        return error
    return None
