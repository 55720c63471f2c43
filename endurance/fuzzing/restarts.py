"""Knows from a server's log when it had to start gRPC's part again, and what that excuses.

A call whose path is no UTF-8 ends grpc.aio's server, and Vitrine's starts another one within a moment. Calls that fall
into it fail, as they do while any server restarts: callers try again. Nothing else excuses them.
"""

import re
import time
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

RESTART = re.compile(r"^(\S+ \S+) ERROR \S+: gRPC's server ended by itself, by UnicodeDecodeError,", re.MULTILINE)
LOGGED_TIME = "%Y-%m-%d %H:%M:%S,%f"

WHOLE_SECONDS = 1.0
"""How long before it is logged, and after, calls may fail by a restart."""

EXCUSED = frozenset({"UNAVAILABLE", "CANCELLED", "GOAWAY", "reset", "closed"})
"""How calls may end that fall into a restart; CANCELLED where gRPC hadn't taken them up (grpc/grpc#41785)."""

LOGGED = (
    "gRPC's server ended by itself, by UnicodeDecodeError,",
    "ERROR grpc._cython.cygrpc: 'utf-8' codec can't decode byte",
    "ERROR asyncio: Task exception was never retrieved",
    "Traceback (most recent call last):",
)
"""What a restart leaves in the log, each once at most."""


class Restarts:
    """The restarts of one server.

    Args:
        log: where the server logs.
    """

    def __init__(self, log: Path) -> None:
        self._log = log

    def moments(self) -> list[float]:
        """When they were, in seconds since the epoch."""
        found = RESTART.findall(self._log.read_text(errors="replace"))
        return [datetime.strptime(said, LOGGED_TIME).timestamp() for said in found]

    def any_since(self, began: float) -> bool:
        """Whether one fell into the time between this moment, in seconds since the epoch, and now."""
        now = time.time()
        return any(began - WHOLE_SECONDS < moment < now + WHOLE_SECONDS for moment in self.moments())

    def unexplained(self, faults: Iterable[str]) -> list[str]:
        """The lines of a log that tell of faults, without those that restarts leave."""
        left = Counter(dict.fromkeys(LOGGED, len(self.moments())))
        return [line for line in faults if not _taken(line, left)]


def _taken(line: str, left: Counter[str]) -> bool:
    """Whether a line is one of those left; then it is taken from them."""
    mark = next((mark for mark in LOGGED if mark in line and left[mark]), None)
    left.subtract([mark] if mark else [])
    return mark is not None
