"""The sockets of gRPC's connections, which gRPC's core shows nobody: what they have received, and a way to close them.

Linux lists a process's files, and counts a connection's bytes (tcp(7), TCP_INFO). Elsewhere no connection is found, so
that none is measured or closed.
"""

import os
import resource
import socket
import struct
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, unquote

FILES = Path("/proc/self/fd")

MOST_FILES = 1 << 16
"""Files that are looked at where they can't be listed."""

RECEIVED_OFFSET = 128
"""Where `tcpi_bytes_received` stands in Linux's `struct tcp_info`: 64 bits, since Linux 4.1."""

CLOSE_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of 0: what hasn't been sent is dropped with the connection, not kept for a peer."""


def open_sockets(ports: Collection[int]) -> dict[str, int]:
    """The connections that were accepted at some ports, by the names that gRPC gives them, and their files."""
    found = {}
    for file in _files():
        with _borrowed(file) as borrowed:
            if borrowed is not None and borrowed.getsockname()[1] in ports and (name := _name_of(borrowed)):
                found[name] = file
    return found


def received_bytes(name: str, file: int) -> int | None:
    """The bytes that a connection has received; None: it has ended."""
    with _borrowed(file) as borrowed:
        if borrowed is None or _name_of(borrowed) != name:
            return None
        info = borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, RECEIVED_OFFSET + 8)
        return int(struct.unpack_from("Q", info, RECEIVED_OFFSET)[0]) if len(info) >= RECEIVED_OFFSET + 8 else None
    return None


def close(name: str, file: int) -> bool:
    """Ends a connection; gRPC's core then finds it ended, and cancels its calls. False: it has ended by itself."""
    try:
        copy = os.dup(file)  # from here on, no other connection can take its place under this number
    except OSError:  # no more files may be open, which is when closing helps most
        return _shut_down(name, file)
    try:
        return _shut_down(name, copy)
    finally:
        os.close(copy)


def _shut_down(name: str, file: int) -> bool:
    with _borrowed(file) as borrowed:
        if borrowed is None or _name_of(borrowed) != name:
            return False
        borrowed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, CLOSE_AT_ONCE)
        borrowed.shutdown(socket.SHUT_RDWR)
        return True
    return False


def host_of(name: str) -> str:
    """The caller's host, out of `ipv4:192.0.2.1:4711` or `ipv6:%5B2001:db8::1%5D:4711`."""
    return unquote(name).partition(":")[2].rpartition(":")[0]


def _files() -> Iterable[int]:
    """The numbers of this process's files; where listing them would take a file too many, all that there may be."""
    if not FILES.exists():
        return ()
    try:
        return [int(name) for name in os.listdir(FILES)]  # noqa: PTH208 - the names alone, many times a minute
    except OSError:
        return range(min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], MOST_FILES))


@contextmanager
def _borrowed(file: int) -> Iterator[socket.socket | None]:
    """A file as a socket, which stays open; None: it is none, or has ended, which may be found later, too."""
    try:
        found = socket.socket(fileno=file)
    except OSError:
        yield None
        return
    try:
        with suppress(OSError):
            yield found if found.family in (socket.AF_INET, socket.AF_INET6) else None
    finally:
        found.detach()


def _name_of(connected: socket.socket) -> str:
    """A connection's name as gRPC writes it; empty: nobody is connected."""
    try:
        host, port = connected.getpeername()[:2]
    except OSError:
        return ""
    mapped = host.removeprefix("::ffff:")
    if connected.family == socket.AF_INET or "." in mapped:
        return f"ipv4:{mapped}:{port}"
    return f"ipv6:{quote(f'[{host}]', safe=':')}:{port}"
