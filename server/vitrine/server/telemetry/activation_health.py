"""Activation health: the mean of each layer of a model that serves, and the units that have stopped firing.

It counts a sample of the runs, within a budget of time. It knows arrays, and neither requests nor metrics.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import numpy.typing as npt

from vitrine.model import ActivationStatistics, ActivationTally, Layer
from vitrine.server.observers import FailureStreak

SHARE = 0.01
"""The share of one thread's time that sampled runs may take as a whole; the cost of sampling is a part of it."""

HALF_WINDOW = 512
"""Images that are counted before the oldest are forgotten: a window is the last 512 to 1,024, and a batch."""


class ActivationHealth:
    """The activations of one model, over the last images that were sampled. Threads may share it.

    A sampled run asks the engine for all layers, which costs copies, and then counts them. Whatever the model, the load
    and the machine: the pause after each is as long as keeps `SHARE`.

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
        self._failures = FailureStreak("a run can't be sampled: metrics of activations stay as they were until one can")

    def claim(self) -> bool:
        """Decides whether the run that begins now is sampled. Of runs side by side that is one: the others run on.

        After True the caller must call `take` or `fail`; until then no other run is sampled.
        """
        with self._lock:
            due = self._clock() >= self._next
            if due:
                self._next = math.inf
            return due

    def take(self, activations: Mapping[str, npt.NDArray[np.float32]], begin: float) -> None:
        """Counts a sampled run; an error in that is logged, and not raised.

        Args:
            activations: float32 (N, width) of every layer, by name.
            begin: when the run began, by the clock.
        """
        run = ActivationTally(self.layers)
        try:
            run.add(activations)
        except Exception:
            self.fail(begin)
            return
        with self._lock:  # readers wait for it: the slow part is done before
            self._now = self._now.merged(run)
            if self._now.images >= HALF_WINDOW:
                self._before, self._now = self._now, ActivationTally(self.layers)
        self._failures.end()
        self._wait(begin)

    def fail(self, begin: float) -> None:
        """Gives a sample up because of the exception that is being handled, which is logged once in a row."""
        self._failures.fail()
        self._wait(begin)

    def reading(self) -> ActivationStatistics | None:
        """The statistics of the activations over the last images; None before the first."""
        with self._lock:
            window = self._before.merged(self._now)
        return window.statistics() if window.images else None

    def _wait(self, begin: float) -> None:
        """Sets the time of the next sample, so that all of them keep `SHARE`."""
        end = self._clock()
        self._next = end + (end - begin) / SHARE
