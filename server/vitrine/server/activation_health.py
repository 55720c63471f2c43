"""Watches what the layers of a model that serves calculate: their mean, and the units that have stopped firing.

It counts a sample of the runs, within a budget of time. It knows arrays, and neither requests nor how its readings are
shown.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import numpy.typing as npt

from vitrine.model import ActivationStatistics, ActivationTally, Layer

SHARE = 0.01
"""The share of one thread's time that sampled runs may take as a whole: what sampling adds to them is a part of it."""

HALF_WINDOW = 512
"""How many images are counted before the oldest are forgotten: a window is the last 512 to 1,024, and a batch."""


class ActivationHealth:
    """The activations of one model, over the last images that were sampled. Threads may share it.

    A sampled run asks the engine for all layers, which costs copies, and then counts them. Whatever the model, the load
    and the machine: after each, as long is waited as keeps `SHARE`.

    Args:
        layers: every layer of the model.
        clock: gives the time in seconds.
    """

    def __init__(self, layers: Iterable[Layer], clock: Callable[[], float] = time.monotonic) -> None:
        self.layers = tuple(layers)
        """Every layer of the model."""
        self._clock = clock
        self._lock = threading.Lock()
        self._before, self._now = ActivationTally(self.layers), ActivationTally(self.layers)
        self._next = 0.0

    def due(self) -> bool:
        """Whether a run that begins now is to be sampled."""
        return self._clock() >= self._next

    def take(self, activations: Mapping[str, npt.NDArray[np.float32]], begin: float) -> None:
        """Counts a sampled run.

        Args:
            activations: float32 (N, width) of every layer, by name.
            begin: when the run began, by the clock.
        """
        with self._lock:
            self._now.add(activations)
            if self._now.images >= HALF_WINDOW:
                self._before, self._now = self._now, ActivationTally(self.layers)
        end = self._clock()
        self._next = end + (end - begin) / SHARE

    def reading(self) -> ActivationStatistics | None:
        """What the activations were like over the last images; None before the first."""
        with self._lock:
            window = self._before.merged(self._now)
        return window.statistics() if window.images else None
