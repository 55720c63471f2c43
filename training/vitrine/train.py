"""The command `vitrine-train`, up to the point where its packages are known to be installed.

The base install puts the command on the PATH, and `vitrine.training` can't be imported without its extra.
"""

import sys

from vitrine.model.distribution import missing_extra


def main() -> None:
    """Runs the command, or exits with one sentence that names the missing extra."""
    if error := missing_extra("vitrine-train", "train"):
        sys.exit(error)
    from vitrine.training.cli import main as run  # loads what the extra installs

    run()


if __name__ == "__main__":
    main()
