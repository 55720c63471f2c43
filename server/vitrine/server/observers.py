"""Keeps what only looks on from harming what it looks at. It knows nothing of either."""

import logging
from collections.abc import Callable
from typing import TypeVar

logger = logging.getLogger(__name__)

Seen = TypeVar("Seen")


class Streak:
    """Exceptions in a row, of which the first is logged.

    Args:
        failed: what to say of it.
    """

    def __init__(self, failed: str) -> None:
        self._failed = failed
        self._goes_on = False

    def fail(self) -> None:
        """There was another one: that which is being handled."""
        if not self._goes_on:
            logger.exception(self._failed)
        self._goes_on = True

    def end(self) -> None:
        """All is well again."""
        self._goes_on = False


def forgiving(observe: Callable[[Seen], None], failed: str) -> Callable[[Seen], None]:
    """The same observer, which doesn't raise: of exceptions in a row the first is logged.

    Args:
        observe: what may fail.
        failed: what to say of that.
    """
    streak = Streak(failed)

    def tell(seen: Seen) -> None:
        try:
            observe(seen)
        except Exception:
            streak.fail()
        else:
            streak.end()

    return tell
