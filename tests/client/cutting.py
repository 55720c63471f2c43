"""A relay before a server that breaks connections behind the head of an answer, as a proxy does whose server dies."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

HEADERS, END_STREAM = 1, 1
"""See RFC 9113, section 6.2: the type of a frame that has headers, and its flag for those that nothing follows."""


class CuttingRelay(socketserver.ThreadingTCPServer):
    """Relays connections, and breaks that of the next answer after `cut`: its head arrives, and nothing else."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Relayed)
        self.target = f"127.0.0.1:{self.server_address[1]}"
        host, _, port = target.rpartition(":")
        self.behind = host, int(port)
        self._is_due = False
        self._lock = threading.Lock()

    def cut(self) -> None:
        """Breaks the connection of the next answer."""
        with self._lock:
            self._is_due = True

    def cuts_here(self) -> bool:
        """True if the rest of an answer, whose head has arrived, is to be broken off."""
        with self._lock:
            is_due, self._is_due = self._is_due, False
        return is_due


class _Relayed(socketserver.BaseRequestHandler):
    server: CuttingRelay

    def handle(self) -> None:
        with socket.create_connection(self.server.behind) as behind, behind.makefile("rb") as answers:
            threading.Thread(target=_pump, args=(self.request, behind), daemon=True).start()
            with suppress(OSError):  # either side has gone
                for kind, flags, frame in _frames(answers):
                    self.request.sendall(frame)
                    if kind == HEADERS and not flags & END_STREAM and self.server.cuts_here():
                        break
            for end in (behind, self.request):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


def _pump(source: socket.socket, to: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)


def _frames(stream: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """The frames of HTTP/2, each with its type and flags (RFC 9113, section 4.1)."""
    while len(head := stream.read(9)) == 9:
        yield head[3], head[4], head + stream.read(int.from_bytes(head[:3], "big"))


@contextmanager
def cutting(target: str) -> Iterator[CuttingRelay]:
    """A relay to a server, on a free port of this machine."""
    with CuttingRelay(target) as relay:
        serving = threading.Thread(target=relay.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield relay
        finally:
            relay.shutdown()
            serving.join()
