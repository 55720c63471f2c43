"""Observes runs of models: the images of each run, and of a sample of runs the activations of all layers.

An observed model is a model like any other: its caller notices nothing. It knows neither requests nor metrics.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from vitrine.model import ActivationStatistics
from vitrine.server.models.snapshot import IntervenedRunner, Runner, ServedModel
from vitrine.server.telemetry.activation_health import ActivationHealth


class RunProbe:
    """Observes models.

    Args:
        ran: told of each run's number of images, in the thread that it ran in.
        activations: whether to sample the layers' activations.
    """

    def __init__(self, ran: Callable[[int], None], *, activations: bool) -> None:
        self._ran = ran
        self._activations = activations
        self._health: WeakKeyDictionary[ServedModel, ActivationHealth] = WeakKeyDictionary()

    def over(self, model: ServedModel) -> ServedModel:
        """The same model, observed from now on. Changed runs are counted, and their activations are never sampled."""
        engine = _Counted(model.engine, self._ran)
        intervened = model.intervened and _CountedIntervened(model.intervened, self._ran)
        if not self._activations:
            return replace(model, engine=engine, intervened=intervened)
        health = ActivationHealth(model.metadata.layers)
        watched = replace(model, engine=_Sampled(engine, health), intervened=intervened)
        self._health[watched] = health
        return watched

    def reading(self, model: ServedModel) -> ActivationStatistics | None:
        """The statistics of an observed model's activations over the last sampled images; None where there are none."""
        health = self._health.get(model)
        return health.reading() if health else None


class _Counted:
    """A runner that counts the images of its runs."""

    def __init__(self, runner: Runner, ran: Callable[[int], None]) -> None:
        self._runner = runner
        self._ran = ran

    @property
    def provider(self) -> str:
        return self._runner.provider

    def run(self, pixels: npt.NDArray[np.uint8], layers: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        values = self._runner.run(pixels, layers)
        self._ran(len(pixels))
        return values


class _CountedIntervened:
    """A runner with interventions that counts the images of its runs."""

    def __init__(self, runner: IntervenedRunner, ran: Callable[[int], None]) -> None:
        self._runner = runner
        self._ran = ran

    def open(self) -> None:
        self._runner.open()

    def run(
        self, pixels: npt.NDArray[np.uint8], layers: Sequence[str], changes: Mapping[str, npt.NDArray[np.float32]]
    ) -> dict[str, npt.NDArray[np.float32]]:
        values = self._runner.run(pixels, layers, changes)
        self._ran(len(pixels))
        return values


class _Sampled:
    """A runner that calculates all layers in a sample of its runs, for the model's health."""

    def __init__(self, runner: Runner, health: ActivationHealth) -> None:
        self._runner = runner
        self._health = health
        self._every = [layer.name for layer in health.layers]

    @property
    def provider(self) -> str:
        return self._runner.provider

    def run(self, pixels: npt.NDArray[np.uint8], layers: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        if self._health.claim():
            begin = time.monotonic()
            try:
                values = self._runner.run(pixels, list(dict.fromkeys((*self._every, *layers))))
            except Exception:  # all layers can take more memory than there is
                self._health.fail(begin)
            else:
                self._health.take({layer: values[layer] for layer in self._every}, begin)  # the novelty is no layer
                return {layer: values[layer] for layer in layers}
        return self._runner.run(pixels, layers)
