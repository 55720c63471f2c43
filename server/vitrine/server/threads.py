"""Threads: pools that are started beforehand, and large work that leaves the event loop free."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from vitrine.server.errors import StartupError

LARGE_BYTES = 1 << 20
"""Bytes from which on copying takes longer than handing it to a thread: about 0.3 ms."""

Result = TypeVar("Result")

_LARGE_WORK = ThreadPoolExecutor(1, thread_name_prefix="large")
"""The thread for large work; it is started by the first."""


def started_threads(size: int, name: str) -> ThreadPoolExecutor:
    """A pool whose threads are running.

    Python's own starts a thread when work comes. Where that fails, the work is neither refused nor done.

    Args:
        size: the threads.
        name: the beginning of their names.

    Raises:
        StartupError: the system has no more threads for this process.
    """
    pool = ThreadPoolExecutor(size, thread_name_prefix=name)
    all_there = threading.Barrier(size + 1)
    try:
        for _ in range(size):  # each waits in a thread of its own
            pool.submit(all_there.wait)
    except RuntimeError as error:
        all_there.abort()
        pool.shutdown(wait=False, cancel_futures=True)
        raise StartupError(
            f"{size} threads can't be started to {name}: {error}; raise the limit of processes (`pids` of a control "
            "group, `ulimit -u`), or lower --threads"
        ) from error
    all_there.wait()
    return pool


async def off_loop(size: int, work: Callable[[], Result]) -> Result:
    """Does work on `size` bytes: in a thread where they are many, so that other calls go on meanwhile; else at once.

    There is one such thread, so that the copies of one large answer are in memory at a time.
    """
    if size < LARGE_BYTES:
        return work()
    try:
        done = _LARGE_WORK.submit(copy_context().run, work)
    except RuntimeError:  # the thread can't be started just now
        return work()
    return await asyncio.wrap_future(done)
