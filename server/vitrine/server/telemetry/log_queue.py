"""Writes lines in a thread of its own, so that a reader that hangs, or a slow disk, stops nothing but the log.

Lines wait in memory up to a bound. A line that finds no room is dropped and counted. It knows no log records.
"""

import os
import select
import stat
import threading
from collections import deque
from contextlib import suppress

WAITING_BYTES = 4 << 20
"""Bytes of lines that may wait."""


class LineWriter:
    """Writes lines to an open file, in their order. Threads may share it; `put` never waits.

    Args:
        descriptor: the open file; it may be one that doesn't block.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self.dropped = 0
        """Lines that were dropped."""
        threading.Thread(target=self._write, name="log", daemon=True).start()

    @property
    def has_room(self) -> bool:
        """True while lines that wait take less than half of the bound."""
        return self._bytes < WAITING_BYTES // 2

    def put(self, line: str) -> None:
        """Hands a line over, or drops it where too many wait."""
        data = f"{line}\n".encode(errors="backslashreplace")
        with self._changed:
            if self._bytes + len(data) > WAITING_BYTES:
                self.dropped += 1
                return
            self._lines.append(data)
            self._bytes += len(data)
            self._changed.notify_all()

    def flush(self, seconds: float) -> None:
        """Waits until all lines are written, for up to `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: not self._bytes, seconds)

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                data = self._lines.popleft()
            written = _write_all(self._descriptor, data)
            with self._changed:
                self.dropped += not written
                self._bytes -= len(data)  # only now: what is being written counts as waiting
                self._changed.notify_all()


def _write_all(descriptor: int, data: bytes) -> bool:
    """Writes and waits as long as it takes; false if it can't be: the disk is full, or the reader has gone."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            writable = select.poll()
            writable.register(descriptor, select.POLLOUT)
            writable.poll()
        except OSError:
            return False
    return True


def let_writes_fail(descriptor: int) -> None:
    """Makes writes to a full pipe, terminal or socket fail at once, where the platform can.

    C libraries write to standard error by themselves, gRPC's core even while it serves. A pipe and a terminal are
    opened anew, so that other programs that share them go on as they were. A file's writes never wait for a reader.
    """
    with suppress(OSError):
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISSOCK(mode):  # it can't be opened anew
            os.set_blocking(descriptor, False)
        elif stat.S_ISFIFO(mode) or os.isatty(descriptor):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
            reopened = os.open(f"/proc/self/fd/{descriptor}", flags)
            os.dup2(reopened, descriptor)
            os.close(reopened)
