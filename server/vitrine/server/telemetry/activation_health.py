"""Watches what the layers of a model that serves calculate: their mean, and the units that have stopped firing.

It counts a sample of the runs, within a budget of time. It knows arrays, and neither requests nor how its readings are
shown.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import numpy.typing as npt

from vitrine.model import ActivationStatistics, ActivationTally, Layer
from vitrine.server.observers import Streak

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
        self._failures = Streak("a run can't be sampled: what is shown of activations stays as it was until one can")

    def claim(self) -> bool:
        """Whether the run that begins now is to be sampled. Of runs side by side that is one: the others run on.

        Whoever is told so says how it went, by `take` or `fail`; before that there is no other.
        """
        with self._lock:
            due = self._clock() >= self._next
            if due:
                self._next = math.inf
            return due

    def take(self, activations: Mapping[str, npt.NDArray[np.float32]], begin: float) -> None:
        """Counts a sampled run; what is wrong with it is logged, and doesn't harm whoever ran it.

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
        with self._lock:  # whoever reads waits for it: what takes long was done before
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
        """What the activations were like over the last images; None before the first."""
        with self._lock:
            window = self._before.merged(self._now)
        return window.statistics() if window.images else None

    def _wait(self, begin: float) -> None:
        """Lets the next sample be so far off that all of them keep `SHARE`."""
        end = self._clock()
        self._next = end + (end - begin) / SHARE
