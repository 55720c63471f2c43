"""The command `vitrine-server`, up to the point where its packages are known to be installed.

The base install puts the command on the PATH, and `vitrine.server` can't be imported without its extra.
"""

import os
import sys

# Before numpy is loaded: its threads would spin between the products of an explanation, and take CPUs from runs.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from vitrine.model.distribution import missing_extra

STANDARD_ERROR = 2


def _fill_standard_files() -> None:
    """Opens standard input, output and error where they are closed.

    The next files would get their numbers: what is printed would go into a socket, and uvloop aborts as it closes one.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= STANDARD_ERROR:
        os.set_inheritable(number, True)
    os.close(number)


def main() -> None:
    """Runs the command, or exits with one sentence that names the missing extra."""
    if error := missing_extra("vitrine-server", "server"):
        sys.exit(error)
    _fill_standard_files()
    from vitrine.server.cli import main as run  # loads what the extra installs

    run()


if __name__ == "__main__":
    main()
