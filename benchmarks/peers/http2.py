"""A gRPC client that sends one request over and over, as raw HTTP/2: a call costs it some microseconds.

What it compares would be the client otherwise: gRPC's own costs more CPU time than some of the servers. It knows the
frames of RFC 9113, and no message's meaning. A call is good if its answer has at least `least` bytes of data: an error
has none.
"""

import socket
from collections import deque
from collections.abc import Iterator

from hpack import Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = 9
"""Bytes of a frame's head."""

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 3, 4
FIRST_WINDOW, LARGEST_WINDOW = 65_535, (1 << 31) - 1
LARGEST_FRAME = 16_384
READ_BYTES = 1 << 20
WINDOW_STEP = 1 << 28
"""Bytes of answers after which the server may send as many more."""


class Http2Connection:
    """A connection, on which as many calls are under way as its user starts.

    Args:
        host: the server's address.
        port: its port.
        path: the method, as `/PACKAGE.SERVICE/METHOD`.
        message: the serialized request.
        least: bytes of data that a good answer has at least.
    """

    def __init__(self, host: str, port: int, path: str, message: bytes, least: int) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._least = least
        self._body = b"\0" + len(message).to_bytes(4, "big") + message
        self._first_headers, self._headers = _headers(path, f"{host}:{port}")
        self._next_stream = 1
        self._window, self._stream_window = FIRST_WINDOW, FIRST_WINDOW
        self._most_streams = 100
        self._queue: deque[float] = deque()  # calls that wait for a stream or a window, by the moment they were due
        self._open: dict[int, list[float]] = {}  # stream: the moment the call was due, and the bytes of its answer
        self._received, self._unacknowledged = b"", 0
        grants = _setting(INITIAL_WINDOW_SIZE, LARGEST_WINDOW)
        more = _frame(WINDOW_UPDATE, 0, 0, (LARGEST_WINDOW - FIRST_WINDOW).to_bytes(4, "big"))
        self._unsent = bytearray(PREFACE + _frame(SETTINGS, 0, 0, grants) + more)

    @property
    def waits_to_send(self) -> bool:
        """Bytes are left that the socket didn't take."""
        return bool(self._unsent)

    @property
    def pending(self) -> int:
        """Calls that have no answer yet."""
        return len(self._open) + len(self._queue)

    def call(self, due: float) -> None:
        """Starts a call that was due at a moment; `flush` sends it."""
        self._queue.append(due)

    def flush(self) -> None:
        """Sends what may be sent."""
        while self._queue and self._window >= len(self._body) and len(self._open) < self._most_streams:
            self._begin(self._queue.popleft())
        if self._unsent:
            try:
                sent = self.socket.send(self._unsent)
            except BlockingIOError:
                return
            del self._unsent[:sent]

    def read(self) -> Iterator[tuple[float, bool]]:
        """Reads what has come; gives each finished call's moment, and whether it is good.

        Raises:
            ConnectionError: the server ended the connection.
        """
        try:
            came = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        if not came:
            raise ConnectionError("the server closed the connection")
        data, at = self._received + came, 0
        while len(data) - at >= HEAD:
            end = at + HEAD + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            kind, flags, stream = data[at + 3], data[at + 4], int.from_bytes(data[at + 5 : at + HEAD], "big")
            if kind == DATA:
                self._count_answer(stream, end - at - HEAD)
            elif kind not in (HEADERS, RST_STREAM):
                self._control(kind, flags, stream, data[at + HEAD : end])
            over = kind == RST_STREAM or (flags & END_STREAM and kind in (DATA, HEADERS))
            if over and (ended := self._open.pop(stream, None)) is not None:  # some servers reset an ended stream, too
                yield ended[0], ended[1] >= self._least
            at = end
        self._received = data[at:]

    def close(self) -> None:
        """Ends the connection."""
        self.socket.close()

    def _begin(self, due: float) -> None:
        stream, body = self._next_stream, self._body
        if len(body) > self._stream_window:
            raise ValueError(
                f"a request of {len(body):,} bytes exceeds the window of a stream, {self._stream_window:,}"
            )
        self._next_stream += 2
        self._open[stream] = [due, 0]
        self._window -= len(body)
        self._unsent += _frame(HEADERS, END_HEADERS, stream, self._headers if stream > 1 else self._first_headers)
        for at in range(0, len(body), LARGEST_FRAME):
            part = body[at : at + LARGEST_FRAME]
            self._unsent += _frame(DATA, END_STREAM if at + LARGEST_FRAME >= len(body) else 0, stream, part)

    def _count_answer(self, stream: int, size: int) -> None:
        if (answer := self._open.get(stream)) is not None:
            answer[1] += size
        self._unacknowledged += size
        if self._unacknowledged >= WINDOW_STEP:
            self._unsent += _frame(WINDOW_UPDATE, 0, 0, self._unacknowledged.to_bytes(4, "big"))
            self._unacknowledged = 0

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Obeys a frame that isn't part of an answer."""
        if kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload, "big")
        elif kind == PING and not flags & ACK:
            self._unsent += _frame(PING, ACK, 0, payload)
        elif kind == GOAWAY:
            raise ConnectionError(f"the server ended the connection: {payload[8:]!r}")
        elif kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                name, value = (
                    int.from_bytes(payload[at : at + 2], "big"),
                    int.from_bytes(payload[at + 2 : at + 6], "big"),
                )
                if name == INITIAL_WINDOW_SIZE:
                    self._stream_window = value
                elif name == MAX_CONCURRENT_STREAMS:
                    self._most_streams = value
            self._unsent += _frame(SETTINGS, ACK)


def _headers(path: str, authority: str) -> tuple[bytes, bytes]:
    """The headers of a connection's first call, and of the later ones, which refer to those."""
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]
    encoder = Encoder()
    return encoder.encode(headers), encoder.encode(headers)


def _frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _setting(name: int, value: int) -> bytes:
    return name.to_bytes(2, "big") + value.to_bytes(4, "big")
