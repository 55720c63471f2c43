"""Measures a server from its start to its end: makes the instruments, shows them, and connects them with what they see.

It is the one place that knows both; what is measured knows nothing of it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from vitrine.server.inference.call import Call
from vitrine.server.inference.service import Classifier
from vitrine.server.models.snapshot import ServedModel
from vitrine.server.observers import forgiving
from vitrine.server.telemetry.metrics import Metrics, MetricsConfig
from vitrine.server.telemetry.prometheus import shown
from vitrine.server.telemetry.run_probe import Watch

GAUGE_SECONDS = 0.5
"""How often that is read which has no moment of its own: how much waits, how activations are, what a process takes."""


class Unmeasured:
    """Measures nothing: what a server has whose metrics nobody wants."""

    observers: Sequence[Callable[[Call], None]] = ()
    """To be told of every call that is over."""

    def watched(self, model: ServedModel) -> ServedModel:
        """The same model, whose runs are measured from now on."""
        return model

    def show_ready(self, ready: bool) -> None:
        """Shows whether the server is ready and doesn't leave."""

    @asynccontextmanager
    async def of(self, _: Classifier) -> AsyncIterator[None]:
        """Measures a service while the context lasts."""
        yield


class Measurement(Unmeasured):
    """Measures a server.

    Args:
        metrics: the instruments.
        activations: whether to look at what the models' layers calculate.
    """

    def __init__(self, metrics: Metrics, *, activations: bool) -> None:
        self.observers = (metrics.observe_call,)
        self._metrics = metrics
        self._watch = Watch(metrics.observe_run, activations=activations)

    def watched(self, model: ServedModel) -> ServedModel:
        """The same model, whose runs are measured from now on."""
        return self._watch.over(model)

    def show_ready(self, ready: bool) -> None:
        """Shows whether the server is ready and doesn't leave."""
        self._metrics.show_ready(ready)

    @asynccontextmanager
    async def of(self, classifier: Classifier) -> AsyncIterator[None]:
        """Measures a service while the context lasts."""
        classifier.models.observe(self._metrics.observe_models)
        reading = asyncio.create_task(self._read(classifier))
        try:
            yield
        finally:
            reading.cancel()

    async def _read(self, classifier: Classifier) -> None:
        read = forgiving(self._read_once, "some metrics can't be read, and stay as they were until they can")
        while True:  # what fails may be over in a moment, as a full disk or a shortage of file descriptors can be
            read(classifier)
            await asyncio.sleep(GAUGE_SECONDS)

    def _read_once(self, classifier: Classifier) -> None:
        self._metrics.show_load(classifier.load)
        self._metrics.show_process()
        served = [entry.model for entry in classifier.models.snapshot.entries if entry.model]
        readings = {model: read for model in served if (read := self._watch.reading(model))}
        self._metrics.show_activations(readings)


@contextmanager
def measuring(config: MetricsConfig | None, methods: Collection[str]) -> Iterator[Unmeasured]:
    """Measures while the context lasts; nothing, where nobody wants that. A supervisor shows its workers'.

    Raises:
        StartupError: the address can't be listened on, or there is no room for a worker's files.
    """
    if config is None:
        yield Unmeasured()
        return
    metrics = Metrics(methods, config)
    measurement = Measurement(metrics, activations=config.activation_health)
    if config.folder is not None:
        yield measurement
        return
    with shown(metrics.registry, config):
        yield measurement
