"""Rows on their way to the thread that writes them, within a number of bytes. Putting never waits for the disk."""

import threading
from collections import deque

from vitrine.server.capture.rows import Rows

WAITING_BYTES = 32 << 20
"""Bytes of rows that may wait."""


class RowQueue:
    """Rows that wait; one thread puts them and another takes them.

    The taker looks by itself from time to time, since waking a thread for each request would cost more than all else.

    Args:
        max_bytes: the most bytes that may wait.
    """

    def __init__(self, max_bytes: int = WAITING_BYTES) -> None:
        self.max_bytes = max_bytes
        """The most bytes that may wait."""
        self._rows: deque[Rows] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False

    def put(self, rows: Rows) -> bool:
        """Hands rows over; false if there is no room for them, or nobody takes them any more."""
        if self._bytes + rows.nbytes > self.max_bytes:  # before anything is copied
            return False
        rows = rows.owned()
        size = rows.held_bytes
        with self._changed:
            if self._closed or self._bytes + size > self.max_bytes:
                return False
            self._rows.append(rows)
            self._bytes += size
            if self._pressing:
                self._changed.notify()
        return True

    def take(self, seconds: float) -> tuple[list[Rows], bool]:
        """All rows that wait, after at most so many seconds, and whether these are the last ones."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._pressing, seconds)
            rows = list(self._rows)
            self._rows.clear()
            self._bytes = 0
            return rows, self._closed

    def close(self) -> None:
        """Takes no further rows."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    @property
    def _pressing(self) -> bool:
        return self._bytes * 4 > self.max_bytes
