"""A raw HTTP/2 client that keeps to the server's windows, so that its attacks get as far as flow control allows."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from endurance.fuzzing import frames as h2
from endurance.fuzzing.connections import Connection, connected

FIRST_WINDOW = 65_535
"""Bytes that may be sent before the server says more (RFC 9113, 6.9.2)."""

LARGEST_WINDOW = (1 << 31) - 1


class Peer:
    """One connection.

    Args:
        connection: where it reads and writes.
    """

    def __init__(self, connection: Connection) -> None:
        self._reader, self._writer = connection
        self._window, self._initial = FIRST_WINDOW, FIRST_WINDOW
        self._streams: defaultdict[int, int] = defaultdict(int)  # what was added to the initial window and taken of it
        self._over: set[int] = set()
        self._ended = False
        self._changed = asyncio.Condition()

    def open(self, path: str, stream: int, **headers: str) -> None:
        """Begins a call."""
        self._writer.write(h2.headers_frame(h2.call_headers(path, **headers), stream))

    async def send(self, stream: int, data: bytes, *, last: bool = True) -> None:
        """Sends data as the windows allow; returns early when the server has ended the call."""
        for at in range(0, len(data), h2.LARGEST_FRAME):
            part = data[at : at + h2.LARGEST_FRAME]
            await self._wait(partial(self._may_send, stream, len(part)))
            if stream in self._over:
                return
            self._window -= len(part)
            self._streams[stream] -= len(part)
            end = last and at + h2.LARGEST_FRAME >= len(data)
            self._writer.write(h2.frame(h2.DATA, h2.END_STREAM if end else 0, stream, part))
            await self._writer.drain()

    async def over(self, stream: int) -> None:
        """Waits until the server has ended a call."""
        await self._wait(lambda: stream in self._over)

    async def ended(self) -> None:
        """Waits until the connection has ended.

        Raises:
            EOFError: always.
        """
        await self._wait(lambda: False)

    async def read(self) -> None:
        """Reads frames until the connection ends."""
        buffer = bytearray()
        try:
            while data := await self._reader.read(h2.LARGEST_FRAME):
                buffer += data
                async with self._changed:
                    for frame in h2.read_frames(buffer):
                        self._take(frame)
                    self._changed.notify_all()
        finally:
            self._ended = True
            async with self._changed:
                self._changed.notify_all()

    def _may_send(self, stream: int, size: int) -> bool:
        return stream in self._over or min(self._window, self._initial + self._streams[stream]) >= size

    async def _wait(self, reached: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._ended or reached())
        if self._ended:
            raise EOFError

    def _take(self, frame: h2.Frame) -> None:
        if frame.kind == h2.WINDOW_UPDATE:
            step = int.from_bytes(frame.payload, "big")
            if frame.stream:
                self._streams[frame.stream] += step
            else:
                self._window += step
        elif frame.kind == h2.SETTINGS and not frame.flags & h2.ACK:
            for at in range(0, len(frame.payload), 6):
                if int.from_bytes(frame.payload[at : at + 2], "big") == h2.INITIAL_WINDOW_SIZE:
                    self._initial = int.from_bytes(frame.payload[at + 2 : at + 6], "big")
            self._writer.write(h2.frame(h2.SETTINGS, h2.ACK))
        elif frame.kind == h2.PING and not frame.flags & h2.ACK:
            self._writer.write(h2.frame(h2.PING, h2.ACK, 0, frame.payload))
        elif frame.kind == h2.RST_STREAM or (frame.kind == h2.HEADERS and frame.flags & h2.END_STREAM):
            self._over.add(frame.stream)
        elif frame.kind == h2.DATA and frame.payload:
            size = len(frame.payload).to_bytes(4, "big")
            self._writer.write(h2.frame(h2.WINDOW_UPDATE, 0, 0, size))


@asynccontextmanager
async def dialled(target: str, window: int = LARGEST_WINDOW) -> AsyncIterator[Peer]:
    """A connection to HOST:PORT, whose answers have this window; aborted at the end."""
    async with connected(target) as connection:
        connection[1].write(h2.greeting(window))
        peer = Peer(connection)
        reading = asyncio.create_task(peer.read())
        try:
            yield peer
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
