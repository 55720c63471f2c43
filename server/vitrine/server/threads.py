"""Pools of threads that are all started beforehand, so that a moment without threads loses no work."""

import threading
from concurrent.futures import ThreadPoolExecutor

from vitrine.server.errors import StartupError


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
