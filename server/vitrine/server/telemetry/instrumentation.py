"""Measures a server from its start to its end: makes the instruments, shows them, and connects them to the service.

It is the one place that knows both; the service knows nothing of it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Protocol

from vitrine.server.inference.call import Call
from vitrine.server.inference.service import Service
from vitrine.server.models.snapshot import ServedModel
from vitrine.server.observers import suppress_and_log
from vitrine.server.telemetry.liveness import Liveness
from vitrine.server.telemetry.metrics_config import MetricsConfig
from vitrine.server.telemetry.run_probe import RunProbe

if TYPE_CHECKING:
    from vitrine.server.telemetry.metrics import Metrics

GAUGE_SECONDS = 0.5
"""Seconds between readings of the gauges that change at no moment of their own: load, activations, the process."""


class Telemetry(Protocol):
    """Measures a server, or nothing."""

    @property
    def observers(self) -> Sequence[Callable[[Call], None]]:
        """To be told of every call that is over."""

    def observed(self, model: ServedModel) -> ServedModel:
        """The same model, whose runs are measured from now on."""

    def of(self, service: Service) -> AbstractAsyncContextManager[None]:
        """Measures a service while the context lasts."""


class NullTelemetry:
    """Measures nothing: the telemetry of a server without metrics."""

    observers: Sequence[Callable[[Call], None]] = ()
    """No observers."""

    def observed(self, model: ServedModel) -> ServedModel:
        """The model as it is."""
        return model

    @asynccontextmanager
    async def of(self, _: Service) -> AsyncIterator[None]:
        """Does nothing."""
        yield


class PrometheusTelemetry:
    """Measures a server with Prometheus' instruments.

    Args:
        metrics: the instruments.
        liveness: told again and again that the event loop runs.
        activations: whether to sample the activations of the models' layers.
    """

    def __init__(self, metrics: "Metrics", liveness: Liveness, *, activations: bool) -> None:
        self.observers = (metrics.observe_call,)
        """The instruments of calls."""
        self._metrics = metrics
        self._liveness = liveness
        self._probe = RunProbe(metrics.observe_run, activations=activations)

    def observed(self, model: ServedModel) -> ServedModel:
        """The same model, whose runs are measured from now on."""
        return self._probe.over(model)

    @asynccontextmanager
    async def of(self, service: Service) -> AsyncIterator[None]:
        """Measures a service while the context lasts."""
        service.models.observe(self._metrics.observe_models)
        self._liveness.begin(lambda: int(service.readiness.ready))
        reading = asyncio.create_task(self._read(service))
        try:
            yield
        finally:
            reading.cancel()

    async def _read(self, service: Service) -> None:
        read = suppress_and_log(self._read_once, "some metrics can't be read, and stay as they were until they can")
        while True:  # a failure may be over in a moment, as a full disk or a shortage of file descriptors can be
            self._liveness.beat()
            read(service)
            await asyncio.sleep(GAUGE_SECONDS)

    def _read_once(self, service: Service) -> None:
        self._metrics.show_workload(service.workload)
        self._metrics.show_certificate(service.certificate.expires)
        self._metrics.show_process()
        served = service.models.snapshot.models
        readings = {model: read for model in served if (read := self._probe.reading(model))}
        self._metrics.show_activations(readings)


@contextmanager
def open_telemetry(config: MetricsConfig | None, methods: Collection[str]) -> Iterator[Telemetry]:
    """Measures while the context lasts; nothing, without a config. A supervisor shows the metrics of its workers.

    Raises:
        StartupError: the address can't be listened on, or there is no room for a worker's files.
    """
    if config is None:
        yield NullTelemetry()
        return
    from vitrine.server.telemetry.metrics import Metrics  # prometheus_client, which takes long to import
    from vitrine.server.telemetry.prometheus import serve_metrics

    metrics = Metrics(methods, config)
    liveness = Liveness()
    telemetry = PrometheusTelemetry(metrics, liveness, activations=config.activation_health)
    if config.folder is not None:
        yield telemetry
        return
    with serve_metrics(metrics.registry, config, liveness):
        yield telemetry
