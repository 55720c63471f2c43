"""Samples what a server holds, fits straight lines to it by least squares, and draws it. It knows no callers."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from benchmarks.harness.processes import Usage
from benchmarks.harness.servers import LoggedServer

SAMPLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What the server held at a moment."""

    minutes: float
    usage: Usage


@dataclass(frozen=True, slots=True)
class Slope:
    """How much something grows in a minute, and how sure that is."""

    per_minute: float
    standard_error: float


def sample_until(server: LoggedServer, enough: threading.Event) -> list[Sample]:
    """Samples of what the server holds, with a line on standard error each minute."""
    samples: list[Sample] = []
    begin = time.monotonic()
    while not enough.wait(SAMPLE_SECONDS):
        samples.append(Sample((time.monotonic() - begin) / 60, server.usage()))
        if len(samples) % round(60 / SAMPLE_SECONDS) == 0:
            click.echo(f"{samples[-1].minutes:5.1f} min  {samples[-1].usage}", err=True)
    return samples


def slope(samples: Sequence[Sample], value: Callable[[Usage], float]) -> Slope:
    """The slope of a straight line through the samples, with its standard error.

    The error takes the samples for independent, which memory's aren't quite: the truth is somewhat less sure.
    """
    x = np.array([sample.minutes for sample in samples])
    y = np.array([value(sample.usage) for sample in samples])
    if len(x) < 3:
        return Slope(float("nan"), float("nan"))
    spread = x - x.mean()
    per_minute = float(spread @ y / (spread @ spread))
    residuals = y - y.mean() - per_minute * spread
    error = np.sqrt(residuals @ residuals / (len(x) - 2) / (spread @ spread))
    return Slope(per_minute, float(error))


def slopes(samples: Sequence[Sample]) -> dict[str, Slope]:
    """The slopes over all, and over the second half, when everything has been warm for long."""
    measures: Mapping[str, Callable[[Usage], float]] = {
        "rss_kib": lambda usage: usage.rss_kib,
        "files": lambda usage: usage.files,
        "threads": lambda usage: usage.threads,
    }
    half = samples[len(samples) // 2 :]
    found = {f"{name} per minute": slope(samples, value) for name, value in measures.items()}
    return found | {f"{name} per minute, second half": slope(half, value) for name, value in measures.items()}


def draw(samples: Sequence[Sample], path: Path) -> None:
    """Draws memory, and open files and threads, over time."""
    from matplotlib.figure import Figure  # only here: nothing else needs it

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
