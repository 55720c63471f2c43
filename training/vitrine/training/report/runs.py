"""Lists and compares runs by their `metrics.json`. It loads no network, and knows no commands."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from vitrine.training.errors import DataError
from vitrine.training.files.run_folder import RunFolder
from vitrine.training.report.table import Table

RESULTS = ("test error", "validation error", "calibration error", "kept epoch", "seconds")
"""The rows of a comparison that are results, in their order; settings that differ come first."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The numbers of one run."""

    path: Path
    """The run folder."""
    metrics: Mapping[str, Any]
    """The content of `metrics.json`."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a run folder.

        Raises:
            DataError: it has no `metrics.json`, or a damaged one.
        """
        file = RunFolder(path).metrics
        try:
            summary = cls(path, json.loads(file.read_bytes()))
            summary.results()  # all that is shown is there
        except OSError as error:
            raise DataError(f"{path} is no finished run: can't read {file}: {error.strerror}") from error
        except (ValueError, LookupError, TypeError) as error:
            raise DataError(f"{file} is damaged: write it again with fit --resume, or remove it") from error
        return summary

    def results(self) -> dict[str, str]:
        """The results as text, by `RESULTS`."""
        metrics = self.metrics
        kept = next(epoch for epoch in metrics["history"] if epoch["number"] == metrics["kept_epoch"])
        values = (
            f"{metrics['test']['error']:.2%}",
            f"{kept['validation_error']:.2%}",
            f"{metrics['calibration']['error']:.2%}",
            f"{kept['number']} of {metrics['config']['epochs']}",
            f"{metrics['seconds']:.0f}",
        )
        return dict(zip(RESULTS, values, strict=True))

    def settings(self) -> dict[str, str]:
        """The settings as text, with the data set and the network that the run started from."""
        config = {name: _text(value) for name, value in self.metrics["config"].items()}
        origin = self.metrics.get("started_from")  # None for a random start, and missing in older files
        about = {"dataset": str(self.metrics["dataset"]["name"]), "from": origin["name"] if origin else "none"}
        return about | config


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)


def find_runs(folder: Path) -> list[RunSummary]:
    """The runs in a folder, by name; those whose numbers can't be read are left out.

    Raises:
        DataError: there is no such folder, or no run in it.
    """
    found = list(_runs_in(folder))
    if not found:
        raise DataError(f"{folder} has no finished runs: make one with vitrine-train fit")
    return found


def _runs_in(folder: Path) -> Iterator[RunSummary]:
    for metrics in sorted(folder.glob("*/metrics.json")):
        try:
            yield RunSummary.read(metrics.parent)
        except DataError:
            continue


def list_table(runs: Sequence[RunSummary]) -> Table:
    """A row for each run: its data and its results."""
    rows = [(str(run.path), run.settings()["dataset"], *run.results().values()) for run in runs]
    return Table(("run", "data", *RESULTS), rows)


def comparison_table(runs: Sequence[RunSummary]) -> Table:
    """A column for each run, a row for each setting that differs and for each result."""
    settings, results = [run.settings() for run in runs], [run.results() for run in runs]
    names = list(dict.fromkeys(name for each in settings for name in each))
    rows = [[name, *(each.get(name, "") for each in settings)] for name in names]
    differing = [row for row in rows if len(set(row[1:])) > 1]
    measured = [[name, *(each[name] for each in results)] for name in RESULTS]
    return Table(("", *(str(run.path) for run in runs)), differing + measured)
