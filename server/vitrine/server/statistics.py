"""What each model has done since it began to answer: how many requests, images and runs, and how long each step took.

The one place where this is counted, for whoever shows it: it knows requests by their `Call`, and no protocol. Durations
are reckoned as Triton does: each request counts in each step, however many share a run of the model.
"""

import time
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from vitrine.server.call import Call, Stage
from vitrine.server.models import ServedModel


@dataclass(slots=True)
class Duration:
    """How often something was done, and how long that took altogether."""

    count: int = 0
    """How often."""
    seconds: float = 0.0
    """How long."""

    def add(self, seconds: float) -> None:
        """Counts another time."""
        self.count += 1
        self.seconds += seconds


@dataclass(slots=True)
class ModelStatistics:
    """What one version of a model has done."""

    success: Duration = field(default_factory=Duration)
    """Requests that were answered, from their arrival until the answer was there."""
    failure: Duration = field(default_factory=Duration)
    """Requests that were not: refused for what they hold or for lack of room, failed, or given up by their callers."""
    queue: Duration = field(default_factory=Duration)
    """Waiting for a run."""
    input: Duration = field(default_factory=Duration)
    """Preparing image files, and putting rows together with others'."""
    compute: Duration = field(default_factory=Duration)
    """The model's runs."""
    output: Duration = field(default_factory=Duration)
    """Putting the answer together, once the model has run."""
    images: int = 0
    """Images that were classified."""
    runs: int = 0
    """Runs of the model."""
    last: float = 0.0
    """When it last answered, in seconds since 1970; 0: never."""

    def succeeded(self, images: int, call: Call) -> None:
        """Counts a request that was answered just now."""
        now = time.monotonic()
        self.success.add(now - call.begin)
        self.queue.add(_covered(call, Stage.QUEUE))
        self.input.add(_covered(call, Stage.PREPARE) + _covered(call, Stage.BATCH))
        self.compute.add(_covered(call, Stage.COMPUTE))
        self.output.add(now - max((passage.end for passage in call.passages), default=now))
        self.images += images
        self.last = time.time()

    def ran(self) -> None:
        """Counts a run of the model."""
        self.runs += 1

    def failed(self, call: Call) -> None:
        """Counts a request that won't be answered."""
        self.failure.add(time.monotonic() - call.begin)


class Statistics:
    """The statistics of all models that answer; a model's go when it does. Everything happens on the event loop."""

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[ServedModel, ModelStatistics] = WeakKeyDictionary()

    def of(self, model: ServedModel) -> ModelStatistics:
        """Those of one model."""
        return self._of.setdefault(model, ModelStatistics())


def _covered(call: Call, stage: Stage) -> float:
    """How long a call was in a stage: rows that are in several runs wait, and are calculated, at the same time."""
    seconds, until = 0.0, call.begin
    for passage in sorted((p for p in call.passages if p.stage is stage), key=lambda p: p.begin):
        seconds += max(0.0, passage.end - max(passage.begin, until))
        until = max(until, passage.end)
    return seconds
