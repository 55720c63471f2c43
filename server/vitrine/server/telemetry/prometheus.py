"""Shows metrics to Prometheus, of one process or of all workers together, and answers an orchestrator's probes.

It knows the files of counts, and not their meaning.
"""

import gzip
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import mark_process_dead

from vitrine.server.errors import StartupError
from vitrine.server.security.addresses import address_of
from vitrine.server.security.listening import cannot_listen
from vitrine.server.telemetry.http_port import Answer, Page, Request, serve_pages
from vitrine.server.telemetry.liveness import Liveness
from vitrine.server.telemetry.metrics_config import MetricsConfig
from vitrine.server.telemetry.model_series import FILES, ModelGauges, samples_in
from vitrine.server.telemetry.worker_counts import WorkerCounts
from vitrine.server.temporary_folder import owned_folder

logger = logging.getLogger(__name__)

FOLDER = "vitrine-metrics-"
"""The beginning of the name of a folder of workers' files."""

METRICS_FLAGS = "--metrics-host and --metrics-port (VITRINE_METRICS_HOST, VITRINE_METRICS_PORT)"
"""The flags that set the address."""


@contextmanager
def serve_metrics(registry: CollectorRegistry, config: MetricsConfig, liveness: Liveness) -> Iterator[None]:
    """Answers `/metrics`, `/livez` and `/readyz` while the context lasts, in a thread of its own.

    Args:
        registry: the metrics; that of how many workers are ready is added.
        config: the settings.
        liveness: the state of the process.

    Raises:
        StartupError: the address can't be listened on.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]  # as many time series again, which nobody reads
    ready = Gauge("vitrine_ready", "Workers that are ready and don't leave.", registry=registry)
    ready.set_function(lambda: liveness.ready)
    pages: dict[str, Page] = {
        "/metrics": lambda request: _metrics_page(registry, request),
        "/livez": lambda _: _probe_page(passes=liveness.alive),
        "/readyz": lambda _: _probe_page(passes=liveness.ready > 0),
    }
    with ExitStack() as stack:
        try:
            port = stack.enter_context(serve_pages(config.host, config.port, pages))
        except OSError as error:
            raise cannot_listen(config.host, config.port, METRICS_FLAGS, error) from error
        logger.info("metrics are at http://%s/metrics", address_of(config.host, port))
        yield


def _metrics_page(registry: CollectorRegistry, request: Request) -> Answer:
    """The metrics in the format that the request accepts; `name[]` in its query picks some of them."""
    encode, kind = choose_encoder(request.headers.get("accept", ""))
    names = parse_qs(request.query).get("name[]")
    body = encode(registry.restricted_registry(names) if names else registry)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Answer(gzip.compress(body), headers={"Content-Type": kind, "Content-Encoding": "gzip"})
    return Answer(body, headers={"Content-Type": kind})


def _probe_page(*, passes: bool) -> Answer:
    return Answer(b"yes\n") if passes else Answer(b"no\n", HTTPStatus.SERVICE_UNAVAILABLE)


class WorkersMetrics:
    """The metrics of several workers, as their supervisor sees them.

    Args:
        config: the settings.
        folder: the workers' files.
    """

    def __init__(self, config: MetricsConfig, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self.registry = CollectorRegistry()
        """The registry to show."""
        self.registry.register(WorkerCounts(folder))
        self.registry.register(ModelGauges(lambda: samples_in(folder)))
        self._deaths = Counter("vitrine_worker_deaths_total", "Workers that ended unasked.", registry=self.registry)
        self._hangs = Counter("vitrine_worker_hangs_total", "Workers killed, since they hung.", registry=self.registry)

    def of(self, place: int) -> MetricsConfig:
        """The settings of the worker in that place."""
        return replace(self._config, folder=self._folder, place=place)

    def ended(self, place: int, *, unasked: bool) -> None:
        """Forgets the gauges of the worker in a place; its counts stay, and its successor goes on from there."""
        mark_process_dead(place, str(self._folder))  # type: ignore[no-untyped-call]
        (self._folder / FILES.format(place)).unlink(missing_ok=True)
        if unasked:
            self._deaths.inc()

    def hung(self) -> None:
        """Counts a worker that is killed because it doesn't answer."""
        self._hangs.inc()


@contextmanager
def workers_metrics(config: MetricsConfig, liveness: Liveness) -> Iterator[WorkersMetrics]:
    """Shows the metrics of all workers while the context lasts.

    Args:
        config: the settings.
        liveness: the state of the workers.

    Raises:
        StartupError: the address can't be listened on, or there is no place for files.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(owned_folder(FOLDER))
        except OSError as error:
            raise StartupError(
                f"workers share their metrics in files, and there is no place for them ({error.strerror}): make /tmp "
                "writable, as by docker run --tmpfs /tmp, or name another folder in TMPDIR"
            ) from error
        metrics = WorkersMetrics(config, folder)
        stack.enter_context(serve_metrics(metrics.registry, config, liveness))
        yield metrics
