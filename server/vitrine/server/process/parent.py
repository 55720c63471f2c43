"""Wakes this process when the one that started it has died: a process that was stopped notices nothing by itself."""

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1
"""The number of this request to Linux's prctl (see prctl(2))."""


def resume_without_parent() -> None:
    """Has Linux send SIGCONT when the parent dies, which a running process doesn't feel; other platforms send none."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0)
