"""Looks at the limits that the system sets to this process, so that too low ones are said in a sentence at the start.

Later they would be: gRPC's core ends the process when it can't open a file that it needs, or start a thread.
"""

import resource
import threading
from contextlib import suppress

from vitrine.server.errors import StartupError

FILES, FILES_PER_WORKER = 64, 8
"""Open files that a process needs before anybody has connected, and a supervisor for each worker."""

THREADS_PER_WORKER, SPARE_THREADS = 16, 16
"""Threads that gRPC, the log and the loading of models have in each worker, and room for all that come for a moment."""

STACK_BYTES = 256 << 10
"""The stack of a thread that is started for the check alone: thousands of the usual 8 MiB could be refused."""


def check_limits(workers: int, threads: int) -> None:
    """Raises the limit of open files as far as this user may, and checks it and that of threads.

    Args:
        workers: worker processes.
        threads: preparation threads of each.

    Raises:
        StartupError: one of them is too low to serve.
    """
    _check_files(FILES + (FILES_PER_WORKER * workers if workers > 1 else 0))
    _check_threads(workers * (THREADS_PER_WORKER + threads + threads // 2) + SPARE_THREADS)


def _check_files(needed: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some platforms have a lower one that they don't tell
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < needed:
        raise StartupError(
            f"this process may open {files} files, and needs {needed} before anybody calls: allow more, by "
            "`ulimit -n`, systemd's LimitNOFILE= or Docker's --ulimit nofile"
        )


def _check_threads(needed: int) -> None:
    """Starts as many threads as all processes will have, and ends them again."""
    enough, started = threading.Event(), list[threading.Thread]()
    usual = threading.stack_size(STACK_BYTES)
    try:
        for _ in range(needed):
            thread = threading.Thread(target=enough.wait)
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        raise StartupError(
            f"this server may start {len(started)} more threads, and needs {needed}: allow more, by Docker's "
            "--pids-limit, Kubernetes' podPidsLimit, systemd's TasksMax= or `ulimit -u`, or lower --workers or "
            "--threads"
        ) from error
    finally:
        threading.stack_size(usual)
        enough.set()
        for thread in started:
            thread.join()
