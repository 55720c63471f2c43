"""Finds restarts of gRPC's part of a server in its log, and tells which failures they excuse.

A call whose path isn't UTF-8 ends grpc.aio's server, and Vitrine starts another one at once. Calls during that moment
fail, as during any restart, and callers try again. Nothing else excuses a failure.
"""

import re
import time
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

RESTART = re.compile(r"^(\S+ \S+) ERROR \S+: gRPC's server ended by itself, by UnicodeDecodeError,", re.MULTILINE)
LOGGED_TIME = "%Y-%m-%d %H:%M:%S,%f"

AROUND_SECONDS = 1.0
"""Seconds before and after its log line in which calls may fail because of a restart."""

EXCUSED = frozenset({"UNAVAILABLE", "CANCELLED", "GOAWAY", "reset", "closed"})
"""Outcomes of calls during a restart; CANCELLED for those that gRPC hadn't accepted yet (grpc/grpc#41785)."""

LOGGED = (
    "gRPC's server ended by itself, by UnicodeDecodeError,",
    "ERROR grpc._cython.cygrpc: 'utf-8' codec can't decode byte",
    "ERROR asyncio: Task exception was never retrieved",
    "Traceback (most recent call last):",
)
"""Log lines of one restart, each at most once."""


class Restarts:
    """Restarts of one server.

    Args:
        log: the server's log.
    """

    def __init__(self, log: Path) -> None:
        self._log = log

    def moments(self) -> list[float]:
        """Times of all restarts, in seconds since the epoch."""
        found = RESTART.findall(self._log.read_text(errors="replace"))
        return [datetime.strptime(time_, LOGGED_TIME).timestamp() for time_ in found]

    def any_since(self, began: float) -> bool:
        """True if there was a restart between `began`, in seconds since the epoch, and now."""
        now = time.time()
        return any(began - AROUND_SECONDS < moment < now + AROUND_SECONDS for moment in self.moments())

    def unexplained(self, faults: Iterable[str]) -> list[str]:
        """Log lines of faults that no restart explains."""
        left = Counter(dict.fromkeys(LOGGED, len(self.moments())))
        return [line for line in faults if not _taken(line, left)]


def _taken(line: str, left: Counter[str]) -> bool:
    """True if one of the lines in `left` explains this one; it is counted down."""
    mark = next((mark for mark in LOGGED if mark in line and left[mark]), None)
    left.subtract([mark] if mark else [])
    return mark is not None
