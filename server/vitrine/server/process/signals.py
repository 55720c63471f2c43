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


def on_signals(
    stopping: asyncio.Event, reread: Callable[[], None], before_exit: Callable[[], None] = lambda: None
) -> None:
    """Makes the first SIGTERM or SIGINT set the event, and the second end the process with status 128 + its number.

    Only signals count: if the event was set for another reason, the next signal is still the first. SIGHUP tells the
    process to read again what has changed. Where standard input is a terminal, it says that the terminal has gone, and
    stops the process, unless `nohup` had it ignored. It is no second signal: a shell and the system both send it.

    Args:
        stopping: the event.
        reread: called at SIGHUP.
        before_exit: called before the second signal ends the process.
    """
    received: list[signal.Signals] = []
    survives_terminal = not os.isatty(0) or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

    def receive(number: signal.Signals) -> None:
        if received:
            logger.warning("a second signal: exiting at once, without waiting for requests under way")
            before_exit()
            logging.shutdown()
            os._exit(128 + number)
        received.append(number)
        stopping.set()

    def hang_up() -> None:
        if not survives_terminal:
            stopping.set()
            return
        logger.info("SIGHUP: looking at the model repository; tokens and certificates follow their files anyway")
        reread()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, receive, number)
    loop.add_signal_handler(signal.SIGHUP, hang_up)


def leave(status: int = 0) -> NoReturn:
    """Ends the process now. A normal exit would wait for threads, and loading a model can take long.

    The log has a moment for the lines that wait.
    """
    logging.shutdown()
    with suppress(OSError, AttributeError):  # a full disk, or no standard output at all
        sys.stdout.flush()
    os._exit(status)
