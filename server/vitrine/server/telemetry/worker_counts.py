"""The counts of all workers together, which they keep in files; an error, once one of these files is gone.

Clean-ups of temporary files delete them under a server that runs for weeks. Workers go on counting where nobody can
read it, and a scrape would succeed with next to nothing in it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

KEPT = ("counter_*.db", "histogram_*.db")
"""Files that stay when their worker ends; those of gauges go with it."""


class CountsLostError(Exception):
    """Files of the workers' counts are gone."""


class WorkerCounts:
    """A collector of the workers' counts.

    Args:
        folder: the workers' files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: set[str] = set()
        self._counts: Any = MultiProcessCollector(CollectorRegistry(), str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Any]:
        """The counts, added up.

        Raises:
            CountsLostError: a file that was there at an earlier scrape is gone. It comes back with the next worker in
                its place.
        """
        there = {file.name for pattern in KEPT for file in self._folder.glob(pattern)}
        if gone := sorted(self._seen - there):
            raise CountsLostError(
                f"files of the workers' counts are gone, such as {self._folder / gone[0]}: keep clean-ups of temporary "
                "files away from that folder (TMPDIR moves it), and restart the server"
            )
        self._seen = there
        return self._counts.collect()  # type: ignore[no-any-return]
