"""Reserves the port that several workers listen on, so that it stays theirs as they come and go.

Linux spreads connections over all processes that listen on one port with SO_REUSEPORT. A process that has bound the
port without listening receives none.
"""

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from vitrine.server.security.listening import FLAGS, cannot_listen


def can_be_shared() -> bool:
    """Tells whether this platform spreads connections over processes on one port; others give one process all."""
    return sys.platform == "linux" and hasattr(socket, "SO_REUSEPORT")


@contextmanager
def reserve_port(host: str, port: int, flags: str = FLAGS) -> Iterator[int]:
    """Reserves a port while the context lasts, on every address of a host.

    Args:
        host: the name or address to listen on.
        port: the port, 0 to 65535; 0 takes a free one.
        flags: the flags that set both, for the error.

    Returns:
        The port that is reserved.

    Raises:
        StartupError: the address can't be listened on; the text has the reason.
    """
    with ExitStack() as sockets:
        try:
            number = port
            for reserved in _reserve_all(host, port):
                sockets.enter_context(reserved)
                number = reserved.getsockname()[1]
        except OSError as error:
            raise cannot_listen(host, port, flags, error) from error
        yield number


def _reserve_all(host: str, port: int) -> Iterator[socket.socket]:
    """Binds a socket for each address, all to one port. An address that isn't there is skipped if another is."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    absent = 0
    for family, _, _, _, (name, _, *rest) in found:
        try:
            reserved = _reserve(family, (name, port, *rest))
        except OSError as error:
            absent += 1
            if error.errno != errno.EADDRNOTAVAIL or absent == len(found):
                raise
            continue
        port = reserved.getsockname()[1]
        yield reserved


def _reserve(family: int, address: tuple[Any, ...]) -> socket.socket:
    """Binds an address exclusively, then binds it again in the way that workers share, and releases the first.

    Binding for sharing from the start would join another server of the same user without an error. At the end
    SO_REUSEADDR is turned off: until a worker listens, it would let another server in.
    """
    with _bound(family, address, socket.SO_REUSEADDR) as exclusive:
        reserved = _bound(family, exclusive.getsockname(), socket.SO_REUSEADDR, socket.SO_REUSEPORT)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return reserved


def _bound(family: int, address: tuple[Any, ...], *options: int) -> socket.socket:
    bound = socket.socket(family)
    try:
        for option in options:
            bound.setsockopt(socket.SOL_SOCKET, option, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound
