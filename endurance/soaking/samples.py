"""Samples of a server's resources over time, their growth, and a plot. It knows no callers."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.harness.processes import Usage
from benchmarks.harness.rounds import log_progress
from benchmarks.harness.servers import LoggedServer

SAMPLE_SECONDS = 2.0

MEASURES: Mapping[str, Callable[[Usage], float]] = {
    "rss_kib": lambda usage: usage.rss_kib,
    "files": lambda usage: usage.files,
    "threads": lambda usage: usage.threads,
}


@dataclass(frozen=True, slots=True)
class Sample:
    """The server's resources at one moment."""

    minutes: float
    """Time since the first sample began."""
    usage: Usage


@dataclass(frozen=True, slots=True)
class Slope:
    """Growth per minute, with its standard error."""

    per_minute: float
    standard_error: float

    def __str__(self) -> str:
        return f"{self.per_minute:+.2f} ± {self.standard_error:.2f}"


def sample_until(server: LoggedServer, enough: threading.Event) -> list[Sample]:
    """Samples the server until `enough`, with a line on standard error each minute."""
    samples: list[Sample] = []
    begin = time.monotonic()
    while not enough.wait(SAMPLE_SECONDS):
        samples.append(Sample((time.monotonic() - begin) / 60, server.usage()))
        if len(samples) % round(60 / SAMPLE_SECONDS) == 0:
            log_progress(f"{samples[-1].minutes:5.1f} min  {samples[-1].usage}")
    return samples


def slopes(samples: Sequence[Sample]) -> dict[str, Slope]:
    """Slope of each measure over all samples, and over the second half, when caches have been warm for long."""
    half = samples[len(samples) // 2 :]
    found = {f"{name} per minute": slope(samples, value) for name, value in MEASURES.items()}
    return found | {f"{name} per minute, second half": slope(half, value) for name, value in MEASURES.items()}


def slope(samples: Sequence[Sample], value: Callable[[Usage], float]) -> Slope:
    """Slope of a straight line fitted by least squares; NaN below three samples.

    The standard error takes samples for independent. Memory's aren't quite, so that its true error is larger.
    """
    x = np.array([sample.minutes for sample in samples])
    y = np.array([value(sample.usage) for sample in samples])
    if len(x) < 3:
        return Slope(float("nan"), float("nan"))
    centred = x - x.mean()
    per_minute = float(centred @ y / (centred @ centred))
    residuals = y - y.mean() - per_minute * centred
    error = np.sqrt(residuals @ residuals / (len(x) - 2) / (centred @ centred))
    return Slope(per_minute, float(error))


def plot_samples(samples: Sequence[Sample], path: Path) -> None:
    """Plots memory, open files and threads over time."""
    from matplotlib.figure import Figure  # slow to import, and needed for --plot only

    figure = Figure(figsize=(9, 5), layout="constrained")
    memory, counts = figure.subplots(2, 1, sharex=True)
    minutes = [sample.minutes for sample in samples]
    memory.plot(minutes, [sample.usage.rss_kib / 1024 for sample in samples], label="memory")
    memory.set_ylabel("MiB")
    counts.plot(minutes, [sample.usage.files for sample in samples], label="open files")
    counts.plot(minutes, [sample.usage.threads for sample in samples], label="threads")
    counts.set_xlabel("minutes")
    counts.legend()
    figure.savefig(path)
