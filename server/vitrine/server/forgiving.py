"""Keeps what only looks on from harming what it looks at. It knows nothing of either."""

import logging
from collections.abc import Callable
from typing import TypeVar

logger = logging.getLogger(__name__)

Seen = TypeVar("Seen")


def forgiving(observe: Callable[[Seen], None], failed: str) -> Callable[[Seen], None]:
    """The same observer, which doesn't raise: of exceptions in a row the first is logged.

    Args:
        observe: what may fail.
        failed: what to say of that.
    """
    fails = False

    def tell(seen: Seen) -> None:
        nonlocal fails
        try:
            observe(seen)
        except Exception:
            if not fails:
                logger.exception(failed)
            fails = True
        else:
            fails = False

    return tell
