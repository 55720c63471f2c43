"""The instruments, under the names that Prometheus sees; docs/metrics.md lists them.

It knows calls, models and loads as plain data, and no protocol. Whatever callers send and however often models are
replaced, the labels are few: methods are those that are registered, models those that are served, by their names alone
where something is counted; reasons and codes are ours. Several workers share their counts through files, one set for
each worker's place; a worker's successor goes on counting from there.
"""

import os
import platform
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
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
from vitrine.model.distribution import version
from vitrine.server.capture.writer import DISK, QUEUE_FULL
from vitrine.server.errors import StartupError
from vitrine.server.inference.call import Call, Outcome, Stage
from vitrine.server.inference.connections import REASONS
from vitrine.server.inference.requests import Workload
from vitrine.server.models.snapshot import Entry, ServedModel, Snapshot
from vitrine.server.telemetry.logs import dropped_lines
from vitrine.server.telemetry.metrics_config import MetricsConfig
from vitrine.server.telemetry.model_series import FILES, Labels, ModelGauges, ModelSeries, Sample

OTHER = "other"
"""The label of all methods that aren't registered, and of models beyond `MODELS`."""

MODELS = 64
"""Models that are counted under names of their own: a series in a file can't be removed again."""

SECONDS = (
    *(1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""The buckets of durations: a run of a small model takes tens of microseconds, an overload seconds."""

ROWS = tuple(2.0**power for power in range(13))
"""The buckets of batches: 1 to 4,096 images."""

Instrument = TypeVar("Instrument", Counter, Gauge, Histogram)
Mode: TypeAlias = Literal["livesum", "livemax", "livemin"]
"""The way to add several workers' values of a gauge up; a worker that has ended doesn't count any more."""

RESERVED = {
    "counter": 1 << 20,
    "histogram": 1 << 18,
    "gauge_livesum": 1 << 16,
    "gauge_livemax": 1 << 16,
    "gauge_livemin": 1 << 16,
}
"""Bytes of a worker's file from the start, by the kind of its instruments: more than so few labels take.

Writing to a mapped page on a full disk kills the process (SIGBUS), so space is reserved up front.
"""


class LabelCache(dict[Labels, Instrument], Generic[Instrument]):
    """An instrument's series by the values of their labels: `labels` of prometheus_client is slow for each request."""

    def __init__(self, parent: Instrument) -> None:
        super().__init__()
        self._parent: Instrument = parent

    def __missing__(self, labels: Labels) -> Instrument:
        child: Instrument = self._parent.labels(*labels)
        self[labels] = child
        return child


class Metrics:
    """All instruments. Threads may share it.

    One process has one: with workers, where the values lie is a setting of the whole process.

    Args:
        methods: all methods, as calls name them.
        config: the settings.

    Raises:
        StartupError: there is no room for their files.
    """

    def __init__(self, methods: Collection[str], config: MetricsConfig) -> None:
        _choose_storage(config)
        self._config = config
        self.registry = CollectorRegistry()
        """The registry, where this process shows its own."""
        self._methods = frozenset(methods)
        self._request_instruments()
        self._load_instruments()
        self._model_instruments()
        self._process_instruments()

    def _request_instruments(self) -> None:
        requests = self._counter("requests_total", "Requests that are over.", "method", "code", "model")
        refused = self._counter("refused_total", "Requests that were refused.", "reason")
        seconds = self._histogram("request_seconds", "From a request's coming to its being over.", SECONDS, "method")
        stages = self._histogram("stage_seconds", "From a request's entering a stage to leaving it.", SECONDS, "stage")
        images = self._counter("images_total", "Images that were classified.", "model", "is_digit")
        self._requests, self._refused, self._images = LabelCache(requests), LabelCache(refused), LabelCache(images)
        self._seconds, self._stages = LabelCache(seconds), {stage: stages.labels(stage) for stage in Stage}

    def _load_instruments(self) -> None:
        self._batch_rows = self._histogram("batch_rows", "Images in a run of a model.", ROWS)
        self._queue_rows = self._gauge("queue_rows", "Images that wait for a run.", "livesum")
        self._pending_images = self._gauge("pending_images", "Images of the requests under way.", "livesum")
        self._pending_bytes = self._gauge("pending_bytes", "Bytes of those requests and their answers.", "livesum")
        self._arriving_bytes = self._gauge("arriving_bytes", "Bytes of requests that haven't arrived whole.", "livesum")
        self._connections = self._gauge("connections", "Connections that are open.", "livesum")
        self._streams = self._gauge("streams", "Streams that are open.", "livesum")
        self._cache_images = self._counter("cache_images_total", "Images that the cache was asked for.", "result")
        self._cache_counted = {"hit": 0, "miss": 0}
        self._cache_bytes = self._gauge("cache_bytes", "Bytes of the answers that the cache keeps.", "livesum")
        self._captured_images = self._counter("captured_images_total", "Images in complete parts of the capture.")
        self._captured_bytes = self._counter("captured_bytes_total", "Bytes of these parts.")
        dropped = self._counter("capture_dropped_images_total", "Images that were to be captured and aren't.", "reason")
        self._capture_dropped = {reason: dropped.labels(reason) for reason in (QUEUE_FULL, DISK)}
        self._capture_counted = {"images": 0, "bytes": 0, QUEUE_FULL: 0, DISK: 0}
        self._closed = self._counter("connections_closed_total", "Connections that the server closed.", "reason")
        self._closed_counted = dict.fromkeys(REASONS, 0)
        for reason in REASONS:  # a rate needs the series from the first one on
            self._closed.labels(reason)

    def _model_instruments(self) -> None:
        self._model_failures = self._counter("model_failures_total", "Versions found not to load, or gone.", "model")
        self._entries: tuple[Entry, ...] = ()
        self._names: set[str] = set()
        self._series = ModelSeries(self._config.folder and self._config.folder / FILES.format(self._config.place))
        self.registry.register(ModelGauges(self._series.samples))

    def _process_instruments(self) -> None:
        self._cpu_seconds = self._counter("process_cpu_seconds_total", "CPU time of the processes that answer.")
        self._cpu_counted = 0.0
        self._resident = self._gauge("process_resident_bytes", "Memory that they have.", "livesum")
        self._open_files = self._gauge("process_open_files", "Files and sockets that they have open.", "livesum")
        self._certificate_expiry: Gauge | None = None
        self._dropped_lines = self._counter("log_lines_dropped_total", "Lines of the log that could not be written.")
        self._dropped_counted = 0
        self._process = ProcessCollector(registry=None)
        build = self._gauge("build_info", "1, with the versions of what runs.", "livemax", "version", "python")
        build.labels(version(), platform.python_version()).set(1)

    def observe_call(self, call: Call) -> None:
        """Counts a call that is over; costs a few microseconds."""
        method = call.method if call.method in self._methods else OTHER
        if call.reason:
            self._refused[call.reason,].inc()
        self._seconds[method,].observe(time.monotonic() - call.begin)
        for stage, (begin, end) in call.times.items():
            self._stages[stage].observe(end - begin)
        name = self._counted_name(call.model.rpartition("@")[0])
        if call.outcome is Outcome.OK and call.images:
            self._count_images(name, call.images, call.no_digits)
        self._requests[method, call.outcome.value, name].inc()  # last: where it is counted, the rest of it is there

    def _count_images(self, model: str, images: int, no_digits: int | None) -> None:
        if no_digits is None:
            self._images[model, "unknown"].inc(images)
            return
        self._images[model, "true"].inc(images - no_digits)
        self._images[model, "false"].inc(no_digits)  # by 0, too: a share needs both series from the first image on

    def observe_run(self, rows: int) -> None:
        """Counts a run of a model."""
        self._batch_rows.observe(rows)

    def observe_models(self, snapshot: Snapshot) -> None:
        """Shows the models that are served from now on, and counts versions that have failed since the last time."""
        for entry in snapshot.entries:
            if entry.reason and entry not in self._entries:
                self._model_failures.labels(self._counted_name(entry.name)).inc()
        self._entries = snapshot.entries
        shown = dict.fromkeys(_labels_of(entry, snapshot.default) for entry in snapshot.entries)
        self._series.publish("models", (Sample("model_info", labels, 1) for labels in shown))

    def show_certificate(self, expires: float | None) -> None:
        """Shows when the certificate in force expires, in seconds since 1970; without one there is no such metric."""
        if expires is None:
            return
        if self._certificate_expiry is None:
            text = "The end of the certificate's validity, since 1970."
            self._certificate_expiry = self._gauge("certificate_expiry_timestamp_seconds", text, "livemin")
        self._certificate_expiry.set(expires)

    def show_workload(self, load: Workload) -> None:
        """Shows the work under way."""
        self._queue_rows.set(load.waiting)
        self._pending_images.set(load.images)
        self._pending_bytes.set(load.bytes)
        self._arriving_bytes.set(load.arriving_bytes)
        self._connections.set(load.connections)
        self._streams.set(load.streams)
        self._cache_bytes.set(load.cache_bytes)
        for result, count in (("hit", load.cache_hits), ("miss", load.cache_misses)):
            self._cache_images.labels(result).inc(count - self._cache_counted[result])
            self._cache_counted[result] = count
        self._show_capture(load)
        for reason, count in load.closed.items():
            self._closed.labels(reason).inc(count - self._closed_counted[reason])
            self._closed_counted[reason] = count

    def _show_capture(self, load: Workload) -> None:
        counters = {"images": self._captured_images, "bytes": self._captured_bytes, **self._capture_dropped}
        now = {"images": load.captured_images, "bytes": load.captured_bytes, **load.capture_dropped}
        for name, count in now.items():
            counters[name].inc(count - self._capture_counted[name])
            self._capture_counted[name] = count

    def show_activations(self, readings: Mapping[ServedModel, ActivationStatistics]) -> None:
        """Shows the models' activations, now and in training; forgets all other models'."""
        samples = [sample for model, read in readings.items() for sample in _samples_of(model, read)]
        self._series.publish("activations", samples)

    def show_process(self) -> None:
        """Shows the process's CPU time, memory, files and log; a value that isn't to be had stays as it was."""
        dropped = dropped_lines()
        self._dropped_lines.inc(dropped - self._dropped_counted)
        self._dropped_counted = dropped
        found = {sample.name: sample.value for metric in self._process.collect() for sample in metric.samples}
        cpu_seconds = found.get("process_cpu_seconds_total", self._cpu_counted)
        self._cpu_seconds.inc(cpu_seconds - self._cpu_counted)
        self._cpu_counted = cpu_seconds
        if "process_resident_memory_bytes" in found:
            self._resident.set(found["process_resident_memory_bytes"])
        if "process_open_fds" in found:
            self._open_files.set(found["process_open_fds"])

    def _counted_name(self, model: str) -> str:
        """A model's label where something is counted: the first so many have their names."""
        if len(self._names) < MODELS:
            self._names.add(model)
        return model if model in self._names or not model else OTHER

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"vitrine_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"vitrine_{name}", text, labels, buckets=buckets, registry=self.registry)

    def _gauge(self, name: str, text: str, across_workers: Mode, *labels: str) -> Gauge:
        return Gauge(f"vitrine_{name}", text, labels, registry=self.registry, multiprocess_mode=across_workers)


def _choose_storage(config: MetricsConfig) -> None:
    """Keeps values in this process, or in files that the supervisor reads: a global variable of prometheus_client."""
    if config.folder is None:
        values.ValueClass = values.MutexValue
        return
    try:
        _reserve_files(config.folder, config.place)
    except OSError as error:
        raise StartupError(f"workers share their metrics in files, and there is no place for them: {error}") from error
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(config.folder)
    values.ValueClass = values.MultiProcessValue(lambda: config.place)  # type: ignore[no-untyped-call]


def _reserve_files(folder: Path, place: int) -> None:
    """Gives a worker's files their room on the disk; the folder may have been swept away since the server started."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for kind, size in RESERVED.items():
        with (folder / f"{kind}_{place}.db").open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, size)


def _labels_of(entry: Entry, default: ServedModel) -> Labels:
    provider = entry.model.engine.provider if entry.model else ""
    return entry.name, entry.version, provider, str(entry.model is default).lower(), entry.state.value


def _samples_of(model: ServedModel, read: ActivationStatistics) -> Iterator[Sample]:
    """The samples of a model's activations."""
    yield Sample("activation_window_images", (model.label,), read.images)
    trained = model.metadata.statistics
    for layer, statistics in read.layers.items():
        yield from _samples_of_layer((model.label, layer), "", statistics, read.images)
        if trained:
            yield from _samples_of_layer((model.label, layer), "training_", trained.layers[layer], trained.images)


def _samples_of_layer(labels: Labels, when: str, statistics: LayerStatistics, images: int) -> Iterator[Sample]:
    yield Sample(f"activation_{when}mean", labels, statistics.mean, images)
    if statistics.dead_ratio is not None:
        yield Sample(f"dead_units_{when}ratio", labels, statistics.dead_ratio, images)
