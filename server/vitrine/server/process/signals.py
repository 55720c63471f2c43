"""How a process of the server is asked to leave, and how it goes."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

logger = logging.getLogger(__name__)


def on_signals(asked_to_leave: asyncio.Event, at_once: Callable[[], None] = lambda: None) -> None:
    """Makes the first SIGTERM or SIGINT set the event, and the second end the process with 128 and its number.

    Only signals count: that the event was set for another reason doesn't make the first one the second.

    Args:
        asked_to_leave: the event.
        at_once: what is to be done before the process ends by the second signal.
    """
    heard: list[signal.Signals] = []

    def hear(number: signal.Signals) -> None:
        if heard:
            logger.warning("a second signal: leaving at once, whatever is under way")
            at_once()
            os._exit(128 + number)
        heard.append(number)
        asked_to_leave.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, hear, number)


def leave(status: int = 0) -> NoReturn:
    """Ends the process now. Python would wait for threads, and a model that is being loaded can take long."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(status)
