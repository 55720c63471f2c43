"""An HTTP/1.1 client that sends one request over and over, for servers that speak nothing else. It knows no JSON.

Each connection has one call at a time. A call is good if its status is 200.
"""

import re
import socket
from collections import deque
from collections.abc import Iterator

READ_BYTES = 1 << 20
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class Http1Connection:
    """A connection that is kept open.

    Args:
        host: the server's address.
        port: its port.
        path: the path of the request.
        body: its body.
        content_type: its form.
    """

    def __init__(self, host: str, port: int, path: str, body: bytes, content_type: str) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        head = f"POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: {content_type}\r\n"
        self._request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
        self._unsent = bytearray()
        self._received = b""
        self._queue: deque[float] = deque()
        self._due: float | None = None

    @property
    def waits_to_send(self) -> bool:
        """Bytes are left that the socket didn't take."""
        return bool(self._unsent)

    @property
    def pending(self) -> int:
        """Calls that have no answer yet."""
        return len(self._queue) + (self._due is not None)

    def call(self, due: float) -> None:
        """Starts a call that was due at a moment; `flush` sends it."""
        self._queue.append(due)

    def flush(self) -> None:
        """Sends what may be sent."""
        if self._due is None and self._queue:
            self._due = self._queue.popleft()
            self._unsent += self._request
        if self._unsent:
            try:
                sent = self.socket.send(self._unsent)
            except BlockingIOError:
                return
            del self._unsent[:sent]

    def read(self) -> Iterator[tuple[float, bool]]:
        """Reads what has come; gives the finished call's moment, and whether it is good.

        Raises:
            ConnectionError: the server ended the connection, or its answer doesn't say how long it is.
        """
        try:
            came = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        if not came:
            raise ConnectionError("the server closed the connection")
        self._received += came
        head = self._received.find(b"\r\n\r\n")
        if head < 0:
            return
        length = LENGTH.search(self._received, 0, head + 2)
        if length is None:
            raise ConnectionError(f"an answer without a length: {self._received[:head]!r}")
        end = head + 4 + int(length[1])
        if len(self._received) >= end and self._due is not None:
            good, due = self._received[9:12] == b"200", self._due
            self._received, self._due = self._received[end:], None
            yield due, good

    def close(self) -> None:
        """Ends the connection."""
        self.socket.close()
