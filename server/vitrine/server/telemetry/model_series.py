"""What is shown of the models that are served: gauges whose series come and go with the models.

A model can be replaced for ever, and the files that prometheus_client shares between processes only grow. So a process
says all that it has to say of its models at once, and what it doesn't say any more is gone. Of several workers each has
a file that is replaced as a whole; whoever shows them puts together what they say. It knows no models, only samples.
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
"""What a worker's file is called, by its place."""


class Sample(NamedTuple):
    """What one process says in one series."""

    gauge: str
    """Which of `GAUGES`."""
    labels: Labels
    """The values of its labels, in their order."""
    value: float
    weight: int = 1
    """How many images a mean is of."""


def _sum(samples: Sequence[Sample]) -> float:
    return sum(sample.value for sample in samples)


def _least(samples: Sequence[Sample]) -> float:
    return min(sample.value for sample in samples)


def _most(samples: Sequence[Sample]) -> float:
    return max(sample.value for sample in samples)


def _mean(samples: Sequence[Sample]) -> float:
    return sum(sample.value * sample.weight for sample in samples) / sum(sample.weight for sample in samples)


@dataclass(frozen=True, slots=True)
class _Gauge:
    text: str
    labels: Labels
    together: Callable[[Sequence[Sample]], float]
    """What several processes' samples of one series make."""


_LAYER = ("model", "layer")

GAUGES = {
    "model_info": _Gauge(
        "Workers in which a version is so.", ("model", "version", "provider", "default", "state"), _sum
    ),
    "activation_mean": _Gauge("Mean activation in the windows.", _LAYER, _mean),
    "activation_training_mean": _Gauge("Mean in training.", _LAYER, _most),
    # the fewest, for what fires in one worker isn't dead; and of the windows the largest, which is what has the fewest
    "dead_units_ratio": _Gauge("Share of relu units at 0 in the window.", _LAYER, _least),
    "dead_units_training_ratio": _Gauge("Share in training.", _LAYER, _most),
    "activation_window_images": _Gauge("Images in the window.", ("model",), _most),
}
"""All of them, by their names without `vitrine_`."""


class ModelGauges(Collector):
    """The gauges of models, for a registry.

    Args:
        read: gives what all processes say just now.
    """

    def __init__(self, read: Callable[[], Iterable[Sample]]) -> None:
        self._read = read

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """What a scrape shows of models."""
        series: defaultdict[tuple[str, Labels], list[Sample]] = defaultdict(list)
        for sample in self._read():
            series[sample.gauge, sample.labels].append(sample)
        families = {
            name: GaugeMetricFamily(f"vitrine_{name}", gauge.text, labels=gauge.labels)
            for name, gauge in GAUGES.items()
        }
        for (name, labels), samples in series.items():
            families[name].add_metric(labels, GAUGES[name].together(samples))
        return families.values()


class Said:
    """What this process says of its models. Threads may share it.

    Args:
        file: where it is kept for the supervisor; None: this process shows it.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._parts: dict[str, tuple[Sample, ...]] = {}

    def say(self, part: str, samples: Iterable[Sample]) -> None:
        """Says this in place of all that was said under that heading before.

        Raises:
            OSError: the file can't be written.
        """
        with self._lock:
            self._parts = {**self._parts, part: tuple(samples)}
            if self._file:
                _replace(self._file, json.dumps([*self.samples()]))

    def samples(self) -> Iterator[Sample]:
        """All that is said now."""
        return chain.from_iterable(self._parts.values())


def said_in(folder: Path) -> Iterator[Sample]:
    """What all workers say whose files lie in a folder."""
    for file in folder.glob(FILES.format("*")):
        try:
            text = file.read_text()
        except FileNotFoundError:  # its worker has ended meanwhile
            continue
        for gauge, labels, value, weight in json.loads(text):
            yield Sample(gauge, tuple(labels), value, weight)


def _replace(file: Path, text: str) -> None:
    """Writes a file so that whoever reads it finds what it was or what it is, and nothing between."""
    scratch = file.with_suffix(".tmp")
    scratch.write_text(text)
    scratch.replace(file)
