"""Decides when calls may read their messages: while there is room for them. The others wait in a line per connection.

A message that isn't read waits at its caller, by HTTP/2's flow control. How large a message is shows when it is there:
until then it counts as the largest of late on its connection, and the first as the largest that its method takes.
Everything happens on the event loop's thread.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from vitrine.server.inference.shares import FACTOR

LEAST_BYTES = 4 << 20
"""Bytes that a message counts as at least, unless its method takes fewer: small ones are followed by large ones."""

UNREAD_BYTES = 1 << 16
"""Bytes of a message that arrive before it is read; holding back a smaller one would save nothing."""

STALL_SECONDS = 1.0
"""Seconds without growth of what a connection holds, after which further calls may read: those before don't send."""

STALL_CALLS = 16
"""Calls that may read then."""


@dataclass(slots=True, eq=False)
class Uploads:
    """The messages that one connection sends."""

    expected: int = 0
    """Bytes that those which are being read count as."""
    largest: int = 0
    """Bytes of the largest of late; 0: none has arrived."""
    waiting: "dict[asyncio.Future[int], int]" = field(default_factory=dict)
    """Calls in line, and the most bytes of their messages."""
    held: int = 0
    """Bytes that the connection held at `looked`."""
    looked: float = 0.0
    """The last look at whether it stalls, in seconds; 0: none since the line was empty."""

    def size(self, limit: int) -> int:
        """Bytes that a message of at most `limit` counts as."""
        return min(limit, max(self.largest or limit, LEAST_BYTES))


class UploadQueue:
    """The messages of all connections.

    Args:
        room: gives the bytes that messages may take together while they arrive.
        least: bytes of that which are always there.
    """

    def __init__(self, room: Callable[[], int], least: int) -> None:
        self._room = room
        self._least = least
        self._expected = 0
        self._lines: dict[Uploads, None] = {}  # in the order of their next turns

    def enter(self, uploads: Uploads, limit: int) -> int:
        """Lets a call read its message if there is room; gives the bytes that it counts as, or 0: it has to wait."""
        size = uploads.size(limit)
        if uploads.waiting or not (self._expected + size <= self._least or self._fits(uploads, size)):
            return 0
        self._count(uploads, size)
        return size

    async def wait(self, uploads: Uploads, limit: int) -> int:
        """Waits in line until a call may read its message; gives the bytes that it counts as."""
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        uploads.waiting[turn] = limit
        self._lines[uploads] = None
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it came at the same moment
                self.leave(uploads, turn.result(), 0)
            elif uploads.waiting.pop(turn, None) and not uploads.waiting:
                del self._lines[uploads]
                uploads.looked = 0.0
            raise

    def leave(self, uploads: Uploads, counted: int, size: int) -> None:
        """Ends what `enter` or `wait` began.

        Args:
            uploads: the messages of the connection.
            counted: the bytes that the message counted as.
            size: those that it has; 0: it won't come. The largest of late fades with each that is smaller.
        """
        if size:
            uploads.largest = max(size, uploads.largest - uploads.largest // 8)
        self._count(uploads, -counted)
        while self._lines and (following := self._next()) is not None:
            self._let_in(following)

    def look(self, uploads: Uploads, held: int, free: int, now: float) -> None:
        """Lets further calls of a connection read where those before them send nothing.

        Args:
            uploads: its messages.
            held: bytes that it holds.
            free: bytes of the room that no connection holds.
            now: the time, in seconds.
        """
        if uploads.looked and now < uploads.looked + STALL_SECONDS:
            return
        if uploads.looked and held <= uploads.held:
            for limit in list(islice(uploads.waiting.values(), STALL_CALLS)):
                free -= 2 * uploads.size(limit)
                if free >= 0:
                    self._let_in(uploads)
        if uploads.waiting:
            uploads.held, uploads.looked = held, now

    def _next(self) -> Uploads | None:
        """The connection whose next call may read."""
        fitting = (
            uploads
            for uploads in self._lines
            if self._fits(uploads, uploads.size(next(iter(uploads.waiting.values()))))
        )
        return next(fitting, None)

    def _fits(self, uploads: Uploads, size: int) -> bool:
        """There is room: for the first of a connection always, and for others while enough is left to the rest."""
        free = self._room() - self._expected - size
        return not uploads.expected or (free >= 0 and uploads.expected + size <= FACTOR * free)

    def _let_in(self, uploads: Uploads) -> None:
        turn, limit = next(iter(uploads.waiting.items()))
        del self._lines[uploads], uploads.waiting[turn]
        if uploads.waiting:
            self._lines[uploads] = None  # behind the others
        else:
            uploads.looked = 0.0
        if not turn.done():  # or it has gone
            size = uploads.size(limit)
            self._count(uploads, size)
            turn.set_result(size)

    def _count(self, uploads: Uploads, size: int) -> None:
        self._expected += size
        uploads.expected += size
