"""Wraps observers so that their exceptions never reach the code that they observe."""

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

logger = logging.getLogger(__name__)

Seen = TypeVar("Seen")


class FailureStreak:
    """Exceptions in a row, of which the first is logged.

    Args:
        message: the line of the log.
    """

    def __init__(self, message: str) -> None:
        self._message = message
        self.failing = False
        """The last one failed."""

    def fail(self) -> None:
        """Notes the exception that is being handled."""
        if not self.failing:
            logger.exception(self._message)
        self.failing = True

    def end(self) -> None:
        """Ends the streak: the next exception is logged again."""
        self.failing = False


def suppress_and_log(observe: Callable[[Seen], None], message: str) -> Callable[[Seen], None]:
    """The same observer, which doesn't raise: of exceptions in a row the first is logged.

    Args:
        observe: the observer, which may fail.
        message: the line of the log.
    """
    streak = FailureStreak(message)

    def observe_safely(seen: Seen) -> None:
        try:
            observe(seen)
        except Exception:
            streak.fail()
        else:
            if streak.failing:
                streak.end()

    return observe_safely


def safe_observers(observers: Iterable[Callable[[Seen], None]]) -> list[Callable[[Seen], None]]:
    """The same observers: where one fails, the call's caller has its answer, and the others are told."""
    return [suppress_and_log(observe, "an observer of calls failed") for observe in observers]
