"""Looks on while models run: how many images each run has, and now and then what all layers calculate.

A watched model is a model like any other: whoever runs it notices nothing. It knows neither requests nor metrics.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from vitrine.model import ActivationStatistics
from vitrine.server.models.snapshot import Runner, ServedModel
from vitrine.server.telemetry.activation_health import ActivationHealth


class Watch:
    """Watches models.

    Args:
        ran: told of each run's images, in whichever thread it ran.
        activations: whether to look at what the layers calculate.
    """

    def __init__(self, ran: Callable[[int], None], *, activations: bool) -> None:
        self._ran = ran
        self._activations = activations
        self._health: WeakKeyDictionary[ServedModel, ActivationHealth] = WeakKeyDictionary()

    def over(self, model: ServedModel) -> ServedModel:
        """The same model, watched from now on."""
        if not self._activations:
            return replace(model, engine=_Counted(model.engine, self._ran))
        health = ActivationHealth(model.metadata.layers)
        watched = replace(model, engine=_Sampled(_Counted(model.engine, self._ran), health))
        self._health[watched] = health
        return watched

    def reading(self, model: ServedModel) -> ActivationStatistics | None:
        """What a watched model's activations were like over the last images looked at; None where none were."""
        health = self._health.get(model)
        return health.reading() if health else None


class _Counted:
    """A runner that tells how many images its runs have."""

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


class _Sampled:
    """A runner that calculates all layers now and then, for the model's health, and gives out what was asked for."""

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
            except Exception:  # all layers can be more than there is memory for, where those that are wanted aren't
                self._health.fail(begin)
            else:
                self._health.take({layer: values[layer] for layer in self._every}, begin)  # the novelty is no layer
                return {layer: values[layer] for layer in layers}
        return self._runner.run(pixels, layers)
