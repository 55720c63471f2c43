"""Shows metrics to Prometheus: `/metrics` on a port of its own, of one process or of all workers together.

It knows the files of counts, and not their meaning.
"""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import CollectorRegistry, Counter, disable_created_metrics, start_http_server
from prometheus_client.multiprocess import mark_process_dead

from vitrine.server.errors import StartupError
from vitrine.server.security.addresses import address_of
from vitrine.server.telemetry.metrics import MetricsConfig
from vitrine.server.telemetry.model_series import FILES, ModelGauges, samples_in
from vitrine.server.telemetry.worker_counts import WorkerCounts

logger = logging.getLogger(__name__)


@contextmanager
def serve_metrics(registry: CollectorRegistry, config: MetricsConfig) -> Iterator[None]:
    """Answers `/metrics` while the context lasts, in threads of its own.

    Raises:
        StartupError: the address can't be listened on.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]  # as many time series again, which nobody reads
    address = address_of(config.host, config.port)
    try:
        server, _ = start_http_server(config.port, config.host, registry)
    except OSError as error:
        raise StartupError(
            f"can't show metrics on {address}: the port is taken, or the address isn't this machine's; name others "
            "with --metrics-host and --metrics-port (VITRINE_METRICS_HOST, VITRINE_METRICS_PORT)"
        ) from error
    logger.info("metrics are at http://%s/metrics", address_of(config.host, server.server_port))
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


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

    def of(self, place: int) -> MetricsConfig:
        """The settings of the worker in that place."""
        return replace(self._config, folder=self._folder, place=place)

    def ended(self, place: int, *, unasked: bool) -> None:
        """Forgets the gauges of the worker in a place; its counts stay, and its successor goes on from there."""
        mark_process_dead(place, str(self._folder))  # type: ignore[no-untyped-call]
        (self._folder / FILES.format(place)).unlink(missing_ok=True)
        if unasked:
            self._deaths.inc()


@contextmanager
def workers_metrics(config: MetricsConfig | None) -> Iterator[WorkersMetrics | None]:
    """Shows the metrics of all workers while the context lasts; None where none are wanted.

    Raises:
        StartupError: the address can't be listened on, or there is no place for files.
    """
    if config is None:
        yield None
        return
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(TemporaryDirectory(prefix="vitrine-metrics-", ignore_cleanup_errors=True))
        except OSError as error:
            raise StartupError(
                f"workers share their metrics in files, and there is no place for them: {error}"
            ) from error
        metrics = WorkersMetrics(config, Path(folder))
        stack.enter_context(serve_metrics(metrics.registry, config))
        yield metrics
