"""Gauges of the models that are served: their series come and go with the models.

A model can be replaced for ever, and the files that prometheus_client shares between processes only grow. So a process
publishes all samples of its models at once, and samples that are missing then are gone. Of several workers each has a
file that is replaced as a whole, and their supervisor aggregates them. It knows no models, only samples.
"""

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeAlias

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

Labels: TypeAlias = tuple[str, ...]

FILES = "models_{}.json"
"""The name of a worker's file, by its place."""


class Sample(NamedTuple):
    """One process's value of one series."""

    gauge: str
    """The name of one of `GAUGES`."""
    labels: Labels
    """The values of its labels, in their order."""
    value: float
    weight: int = 1
    """The images that a mean is of."""


def _sum(samples: Sequence[Sample]) -> float:
    return sum(sample.value for sample in samples)


def _min(samples: Sequence[Sample]) -> float:
    return min(sample.value for sample in samples)


def _max(samples: Sequence[Sample]) -> float:
    return max(sample.value for sample in samples)


def _mean(samples: Sequence[Sample]) -> float:
    return sum(sample.value * sample.weight for sample in samples) / sum(sample.weight for sample in samples)


@dataclass(frozen=True, slots=True)
class _Gauge:
    text: str
    labels: Labels
    aggregate: Callable[[Sequence[Sample]], float]
    """Makes one value of several processes' samples of one series."""


_LAYER = ("model", "layer")

GAUGES = {
    "model_info": _Gauge(
        "Workers in which a version is so.", ("model", "version", "provider", "default", "state"), _sum
    ),
    "activation_mean": _Gauge("Mean activation in the windows.", _LAYER, _mean),
    "activation_training_mean": _Gauge("Mean in training.", _LAYER, _max),
    # min over workers: a unit that fires in any worker is alive
    "dead_units_ratio": _Gauge("Share of relu units at 0 in the window.", _LAYER, _min),
    "dead_units_training_ratio": _Gauge("Share in training.", _LAYER, _max),
    # max over workers: the largest window is the one that the smallest share of dead units comes from
    "activation_window_images": _Gauge("Images in the window.", ("model",), _max),
}
"""All of them, by their names without `vitrine_`."""


class ModelGauges(Collector):
    """The gauges of models, for a registry.

    Args:
        read: gives all processes' present samples.
    """

    def __init__(self, read: Callable[[], Iterable[Sample]]) -> None:
        self._read = read

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The gauges that a scrape shows."""
        series: defaultdict[tuple[str, Labels], list[Sample]] = defaultdict(list)
        for sample in self._read():
            series[sample.gauge, sample.labels].append(sample)
        families = {
            name: GaugeMetricFamily(f"vitrine_{name}", gauge.text, labels=gauge.labels)
            for name, gauge in GAUGES.items()
        }
        for (name, labels), samples in series.items():
            families[name].add_metric(labels, GAUGES[name].aggregate(samples))
        return families.values()


class ModelSeries:
    """This process's samples. Threads may share it.

    Args:
        file: the file that keeps them for the supervisor; None: this process shows them.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._parts: dict[str, tuple[Sample, ...]] = {}

    def publish(self, part: str, samples: Iterable[Sample]) -> None:
        """Replaces the samples of one part.

        Raises:
            OSError: the file can't be written.
        """
        with self._lock:
            self._parts = {**self._parts, part: tuple(samples)}
            if self._file:
                _replace(self._file, json.dumps([*self.samples()]))

    def samples(self) -> Iterator[Sample]:
        """All samples."""
        return chain.from_iterable(self._parts.values())


def samples_in(folder: Path) -> Iterator[Sample]:
    """The samples of all workers whose files are in a folder."""
    for file in folder.glob(FILES.format("*")):
        try:
            text = file.read_text()
        except FileNotFoundError:  # its worker has ended meanwhile
            continue
        for gauge, labels, value, weight in json.loads(text):
            yield Sample(gauge, tuple(labels), value, weight)


def _replace(file: Path, text: str) -> None:
    """Writes a file so that a reader finds the old content or the new, and nothing between."""
    scratch = file.with_suffix(".tmp")
    scratch.write_text(text)
    scratch.replace(file)
