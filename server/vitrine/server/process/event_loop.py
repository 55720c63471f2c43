"""The event loop of a process that serves: uvloop's where it is installed, and Python's own elsewhere."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs a program until it ends, as `asyncio.run` does."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Makes event loops that take a sixth less CPU time for a call of gRPC; None: uvloop isn't installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
