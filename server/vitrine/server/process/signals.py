"""Stops a process of the server: by signals from outside, and at the end from inside."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

logger = logging.getLogger(__name__)


def on_signals(stopping: asyncio.Event, before_exit: Callable[[], None] = lambda: None) -> None:
    """Makes the first SIGTERM or SIGINT set the event, and the second end the process with status 128 + its number.

    Only signals count: if the event was set for another reason, the next signal is still the first.

    Args:
        stopping: the event.
        before_exit: called before the second signal ends the process.
    """
    received: list[signal.Signals] = []

    def receive(number: signal.Signals) -> None:
        if received:
            logger.warning("a second signal: exiting at once, without waiting for requests under way")
            before_exit()
            logging.shutdown()
            os._exit(128 + number)
        received.append(number)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, receive, number)


def leave(status: int = 0) -> NoReturn:
    """Ends the process now. A normal exit would wait for threads, and loading a model can take long.

    The log has a moment for the lines that wait.
    """
    logging.shutdown()
    with suppress(OSError, AttributeError):  # a full disk, or no standard output at all
        sys.stdout.flush()
    os._exit(status)
