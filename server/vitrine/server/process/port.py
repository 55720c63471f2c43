"""The port that several workers listen on: their supervisor holds it, so that it stays theirs as they come and go.

Linux spreads the connections over all processes that listen on one port with SO_REUSEPORT. Whoever has bound the port
without listening gets none.
"""

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from vitrine.server.security.addresses import cannot_listen


def can_be_shared() -> bool:
    """Whether this platform spreads connections over processes that listen on one port; others give one of them all."""
    return sys.platform == "linux" and hasattr(socket, "SO_REUSEPORT")


@contextmanager
def held(host: str, port: int) -> Iterator[int]:
    """Holds a port while the context lasts, on every address that the host's name stands for.

    Args:
        host: the name or address to listen on.
        port: the port; 0 takes a free one.

    Returns:
        The port that is held.

    Raises:
        StartupError: another program has it, or the address isn't this machine's.
    """
    with ExitStack() as sockets:
        try:
            number = port
            for holder in _hold_all(host, port):
                sockets.enter_context(holder)
                number = holder.getsockname()[1]
        except OSError as error:
            raise cannot_listen(host, port) from error
        yield number


def _hold_all(host: str, port: int) -> Iterator[socket.socket]:
    """A socket for each address, all of one port. Beside others, an address that isn't there is passed over."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    absent = 0
    for family, _, _, _, (name, _, *rest) in found:
        try:
            holder = _hold(family, (name, port, *rest))
        except OSError as error:
            absent += 1
            if error.errno != errno.EADDRNOTAVAIL or absent == len(found):
                raise
            continue
        port = holder.getsockname()[1]
        yield holder


def _hold(family: int, address: tuple[Any, ...]) -> socket.socket:
    """Binds an address as nobody else may, and then once more as the workers will, before the first is given up.

    Bound as workers do from the start, it would come between those of another server of the same user unnoticed. And
    it lets nobody else reuse the address in the end: until a worker listens, another server would be let in.
    """
    with _bound(family, address, socket.SO_REUSEADDR) as alone:
        holder = _bound(family, alone.getsockname(), socket.SO_REUSEADDR, socket.SO_REUSEPORT)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return holder


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
