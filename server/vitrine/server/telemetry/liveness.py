"""The liveness of an event loop, and how many workers are ready, for probes and metrics.

The loop beats, and other threads look at the age of its last beat: a loop that hangs can't say so itself.
"""

import time
from collections.abc import Callable

READY_SECONDS = 5.0
"""Seconds after the last beat when nothing counts as ready any more."""

ALIVE_SECONDS = 20.0
"""Seconds after the last beat when the loop counts as hanging."""


class Liveness:
    """The beats of an event loop. Threads may share it."""

    def __init__(self) -> None:
        self._count: Callable[[], int] = lambda: 0
        self._last: float | None = None

    def begin(self, count: Callable[[], int]) -> None:
        """Expects beats from now on. `count` gives the workers that are ready and don't leave."""
        self._count = count
        self.beat()

    def beat(self) -> None:
        """Notes that the loop runs."""
        self._last = time.monotonic()

    @property
    def ready(self) -> int:
        """Workers that are ready and don't leave; 0 where the loop may hang."""
        return self._count() if self._age < READY_SECONDS else 0

    @property
    def alive(self) -> bool:
        """False once the loop hangs. Before it begins to beat, it loads models, which may take long."""
        return self._age < ALIVE_SECONDS

    @property
    def _age(self) -> float:
        return 0.0 if self._last is None else time.monotonic() - self._last
