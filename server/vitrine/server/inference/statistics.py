"""Counts the work of each model: requests, images and runs, and the time of each step.

It observes calls, and knows no protocol. Durations are counted as Triton does: each request counts in each step,
however many share a run of the model.
"""

import time
from collections import defaultdict
from dataclasses import dataclass, field

from vitrine.server.inference.call import Call, Outcome, Stage


@dataclass(slots=True)
class Duration:
    """Repetitions of something, and the time that they took altogether."""

    count: int = 0
    """Repetitions."""
    seconds: float = 0.0
    """Their time."""

    def add(self, seconds: float) -> None:
        """Counts another one."""
        self.count += 1
        self.seconds += seconds


@dataclass(slots=True)
class ModelStatistics:
    """The work that one version of a model has done."""

    success: Duration = field(default_factory=Duration)
    """Requests that were answered, from their arrival until the answer had left."""
    failure: Duration = field(default_factory=Duration)
    """Requests that failed: refused, unreadable image, internal error, or cancelled."""
    queue: Duration = field(default_factory=Duration)
    """Waiting for a run."""
    input: Duration = field(default_factory=Duration)
    """Preparing image files, and putting rows together with others'."""
    compute: Duration = field(default_factory=Duration)
    """The model's runs."""
    output: Duration = field(default_factory=Duration)
    """Writing the answer."""
    cache_hit: Duration = field(default_factory=Duration)
    """Requests that the cache answered, and looking for their rows."""
    cache_miss: Duration = field(default_factory=Duration)
    """Requests of which it lacked rows, looking for them, and keeping what was calculated."""
    images: int = 0
    """Images that were classified."""
    runs: int = 0
    """Runs of the model."""
    last: float = 0.0
    """When it last answered, in seconds since 1970; 0: never."""

    def succeeded(self, call: Call) -> None:
        """Counts a request that was answered just now."""
        self.success.add(time.monotonic() - call.begin)
        self.queue.add(call.seconds(Stage.QUEUE))
        self.input.add(call.seconds(Stage.PREPARE) + call.seconds(Stage.BATCH))
        self.compute.add(call.seconds(Stage.COMPUTE))
        self.output.add(call.seconds(Stage.ENCODE))
        self.images += call.images
        self.last = time.time()

    def failed(self, call: Call) -> None:
        """Counts a request that won't be answered."""
        self.failure.add(time.monotonic() - call.begin)


class Statistics:
    """The statistics of every version that was ever asked, by NAME@VERSION: one that is let go may come back.

    Everything happens on the event loop's thread.
    """

    def __init__(self) -> None:
        self._of: defaultdict[str, ModelStatistics] = defaultdict(ModelStatistics)

    def of(self, label: str) -> ModelStatistics:
        """The statistics of one version."""
        return self._of.get(label, ModelStatistics())

    def observe(self, call: Call) -> None:
        """Counts a call that is over, if it had images to classify."""
        if not call.images:
            return
        done = self._of[call.model]
        if call.outcome is Outcome.OK:
            done.succeeded(call)
        else:
            done.failed(call)

    def looked_up(self, label: str, hit: bool, seconds: float) -> None:
        """Counts a request that the cache was asked for."""
        done = self._of[label]
        (done.cache_hit if hit else done.cache_miss).add(seconds)

    def ran(self, label: str) -> None:
        """Counts a run."""
        self._of[label].runs += 1
