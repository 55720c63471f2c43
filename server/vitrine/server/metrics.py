"""The instruments: what is counted and measured, under the names that Prometheus sees; docs/metrics.md lists them.

It knows calls, models and loads as plain data, and no protocol. Whatever callers send, the labels are few: methods are
those that are registered, models those that are served, reasons and codes are ours. Several workers share their counts
through files, one set for each worker's place; who follows in a place goes on counting where the one before was.
"""

import math
import os
import platform
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Generic, Literal, TypeAlias, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    values,
)

from vitrine.model import ActivationStatistics, LayerStatistics
from vitrine.server.call import Call, Stage
from vitrine.server.classifier import Load
from vitrine.server.models import Entry, ServedModel, Snapshot

OTHER = "other"
"""The label of all methods that aren't registered."""

SECONDS = (
    *(1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""The buckets of durations: a run of a small model takes tens of microseconds, an overload seconds."""

ROWS = tuple(2.0**power for power in range(13))
"""The buckets of batches: 1 to 4,096 images."""

Instrument = TypeVar("Instrument", Counter, Gauge, Histogram)
Labels: TypeAlias = tuple[str, ...]
Mode: TypeAlias = Literal["livesum", "livemin", "livemax", "livemostrecent"]
"""What several workers' values of a gauge make; one that has ended doesn't count any more."""


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Where metrics are shown, and what they are to contain."""

    port: int
    """The port of `/metrics`; 0 takes a free one."""
    host: str = "127.0.0.1"
    """The address that it listens on."""
    activation_health: bool = True
    """Whether what the layers calculate is looked at."""
    folder: Path | None = None
    """Where a worker keeps its counts, for its supervisor to show; None: this process shows its own."""
    place: int = 0
    """Which of the workers this is."""


class _Children(dict[Labels, Instrument], Generic[Instrument]):
    """An instrument's children by their labels: found without building a dict of them, as each request would."""

    def __init__(self, parent: Instrument) -> None:
        super().__init__()
        self._parent: Instrument = parent

    def __missing__(self, labels: Labels) -> Instrument:
        child: Instrument = self._parent.labels(*labels)
        self[labels] = child
        return child


class Metrics:
    """Everything that is counted and measured. Threads may share it.

    One process has one: with workers, where the values lie is a setting of the whole process.

    Args:
        methods: the methods that there are, as calls name them.
        config: where the counts are kept.
    """

    def __init__(self, methods: Collection[str], config: MetricsConfig) -> None:
        _choose_where_values_lie(config)
        self.registry = CollectorRegistry()
        """What there is to show, where this process shows its own."""
        self._methods = frozenset(methods)
        self._request_instruments()
        self._load_instruments()
        self._model_instruments()
        self._activation_instruments()
        self._process_instruments()

    def _request_instruments(self) -> None:
        requests = self._counter("requests_total", "Requests that are over.", "method", "code", "model")
        refused = self._counter("refused_total", "Requests that were refused.", "reason")
        seconds = self._histogram("request_seconds", "From a request's coming to its being over.", SECONDS, "method")
        stages = self._histogram("stage_seconds", "From a request's entering a stage to leaving it.", SECONDS, "stage")
        self._requests, self._refused = _Children(requests), _Children(refused)
        self._seconds, self._stages = _Children(seconds), {stage: stages.labels(stage) for stage in Stage}

    def _load_instruments(self) -> None:
        self._batch_rows = self._histogram("batch_rows", "Images in a run of a model.", ROWS)
        self._queue_rows = self._gauge("queue_rows", "Images that wait for a run.", "livesum")
        self._pending_images = self._gauge("pending_images", "Images of the requests under way.", "livesum")
        self._pending_bytes = self._gauge("pending_bytes", "Bytes of those requests and their answers.", "livesum")
        self._ready = self._gauge("ready", "Workers that are ready and don't leave.", "livesum")

    def _model_instruments(self) -> None:
        labels = ("model", "version", "provider", "default", "state")
        info = self._gauge("model_info", "Workers in which a version is so; 0: in none any more.", "livesum", *labels)
        self._models: _Children[Gauge] = _Children(info)
        self._model_failures = self._counter("model_failures_total", "Versions found not to load, or gone.", "model")
        self._entries: tuple[Entry, ...] = ()

    def _activation_instruments(self) -> None:
        # Of several workers: the mean that was read last; of dead units the fewest, for what fires in one isn't dead;
        # and of the windows the largest, which is what has the fewest.
        layer = ("model", "layer")
        read = {
            "mean": self._gauge("activation_mean", "Mean activation in the window.", "livemostrecent", *layer),
            "dead_ratio": self._gauge("dead_units_ratio", "Share of relu units at 0 in it.", "livemin", *layer),
            "training_mean": self._gauge("activation_training_mean", "Mean in training.", "livemax", *layer),
            "training_dead_ratio": self._gauge("dead_units_training_ratio", "Share in training.", "livemax", *layer),
        }
        self._activations: dict[str, _Children[Gauge]] = {name: _Children(gauge) for name, gauge in read.items()}
        window = self._gauge("activation_window_images", "Images in the window.", "livemax", "model")
        self._windows: _Children[Gauge] = _Children(window)

    def _process_instruments(self) -> None:
        self._cpu_seconds = self._counter("process_cpu_seconds_total", "CPU time of the processes that answer.")
        self._cpu_counted = 0.0
        self._resident = self._gauge("process_resident_bytes", "Memory that they have.", "livesum")
        self._open_files = self._gauge("process_open_files", "Files and sockets that they have open.", "livesum")
        self._process = ProcessCollector(registry=None)
        build = self._gauge("build_info", "1, with the versions of what runs.", "livemax", "version", "python")
        build.labels(version("vitrine"), platform.python_version()).set(1)

    def observe_call(self, call: Call) -> None:
        """Counts a call that is over; costs a few microseconds."""
        method = call.method if call.method in self._methods else OTHER
        if call.reason:
            self._refused[call.reason,].inc()
        self._seconds[method,].observe(time.monotonic() - call.begin)
        for stage, seconds in _spans(call).items():
            self._stages[stage].observe(seconds)
        self._requests[method, call.outcome, call.model].inc()  # last: where it is counted, the rest of it is there

    def observe_run(self, rows: int) -> None:
        """Counts a run of a model."""
        self._batch_rows.observe(rows)

    def observe_models(self, snapshot: Snapshot) -> None:
        """Shows what is served from now on, and counts versions that have failed since the last time."""
        shown = {_labels_of(entry, snapshot.default) for entry in snapshot.entries}
        for entry in snapshot.entries:
            if entry.reason and entry not in self._entries:
                self._model_failures.labels(entry.name).inc()
        for labels in shown | self._models.keys():
            self._models[labels].set(labels in shown)
        self._entries = snapshot.entries

    def show_ready(self, ready: bool) -> None:
        """Shows whether this process is ready and doesn't leave."""
        self._ready.set(ready)

    def show_load(self, load: Load) -> None:
        """Shows how much there is to do."""
        self._queue_rows.set(load.waiting)
        self._pending_images.set(load.images)
        self._pending_bytes.set(load.bytes)

    def show_activations(self, readings: Mapping[ServedModel, ActivationStatistics]) -> None:
        """Shows how the models' activations are, against what they were in training; forgets all other models'."""
        for model, read in readings.items():
            trained = model.metadata.statistics
            self._windows[model.label,].set(read.images)
            for layer, statistics in read.layers.items():
                labels = model.label, layer
                self._show_layer(labels, "", statistics)
                if trained:
                    self._show_layer(labels, "training_", trained.layers[layer])
        self._forget_activations_but({model.label for model in readings})

    def show_process(self) -> None:
        """Shows what the process takes; where the platform doesn't say so, nothing."""
        found = {sample.name: sample.value for metric in self._process.collect() for sample in metric.samples}
        cpu_seconds = found.get("process_cpu_seconds_total", 0.0)
        self._cpu_seconds.inc(cpu_seconds - self._cpu_counted)
        self._cpu_counted = cpu_seconds
        self._resident.set(found.get("process_resident_memory_bytes", math.nan))
        self._open_files.set(found.get("process_open_fds", math.nan))

    def _show_layer(self, labels: Labels, when: str, statistics: LayerStatistics) -> None:
        self._activations[f"{when}mean"][labels].set(statistics.mean)
        if statistics.dead_ratio is not None:
            self._activations[f"{when}dead_ratio"][labels].set(statistics.dead_ratio)

    def _forget_activations_but(self, models: Collection[str]) -> None:
        """Without a value, as far as Prometheus is concerned: what lies in files can't be taken out."""
        for children in (self._windows, *self._activations.values()):
            for labels, gauge in children.items():
                if labels[0] not in models:
                    gauge.set(math.nan)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"vitrine_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"vitrine_{name}", text, labels, buckets=buckets, registry=self.registry)

    def _gauge(self, name: str, text: str, across_workers: Mode, *labels: str) -> Gauge:
        return Gauge(f"vitrine_{name}", text, labels, registry=self.registry, multiprocess_mode=across_workers)


def _choose_where_values_lie(config: MetricsConfig) -> None:
    """In this process, or in files that the supervisor reads; prometheus_client has that as a variable of its own."""
    if config.folder is None:
        values.ValueClass = values.MutexValue
    else:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(config.folder)
        values.ValueClass = values.MultiProcessValue(lambda: config.place)  # type: ignore[no-untyped-call]


def _spans(call: Call) -> dict[Stage, float]:
    """The seconds from a call's entering each stage to its leaving it for the last time."""
    begins: dict[Stage, float] = {}
    spans: dict[Stage, float] = {}
    for passage in call.passages:
        begin = begins.setdefault(passage.stage, passage.begin)
        spans[passage.stage] = max(spans.get(passage.stage, 0.0), passage.end - begin)
    return spans


def _labels_of(entry: Entry, default: ServedModel) -> Labels:
    if entry.model is None:
        return entry.name, entry.version, "", "false", "failed"
    is_default = str(entry.model is default).lower()
    return entry.name, entry.version, entry.model.engine.provider, is_default, "kept" if entry.reason else "available"
