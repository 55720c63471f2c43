"""The output of a command: text that a terminal or a file may not be able to take. It knows no command."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""The system's reasons for not taking output: a full disk, a quota, the largest size of a file, a broken device."""


@contextmanager
def safe_output() -> Iterator[None]:
    """Runs a command whose output always ends well.

    Characters that the output's encoding lacks become question marks: on Windows, a redirect has an old code page.
    (Standard error escapes them by itself.)
    Where output can't be written, to a full disk for example, one sentence goes to standard error.

    Raises:
        SystemExit: the output can't be written; the status is 1.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno not in UNWRITABLE:
            raise
        with suppress(OSError, ValueError), Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())  # else Python tries to write the rest when it exits
        with suppress(OSError):
            print(f"Error: can't write the output: {error.strerror}", file=sys.stderr)
        raise SystemExit(1) from error
