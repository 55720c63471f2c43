"""The command `vitrine-server`, up to the point where its packages are known to be installed.

The base install puts the command on the PATH, and `vitrine.server` can't be imported without its extra.
"""

import os
import sys

# Before numpy is loaded: its threads would spin between the products of an explanation, and take CPUs from runs.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from vitrine.model.distribution import missing_extra


def main() -> None:
    """Runs the command, or exits with one sentence that names the missing extra."""
    if error := missing_extra("vitrine-server", "server"):
        sys.exit(error)
    from vitrine.server.cli import main as run  # loads what the extra installs

    run()


if __name__ == "__main__":
    main()
