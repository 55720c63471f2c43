"""What each model has done: how many requests, images and runs, and how long each step took.

It observes calls, and knows no protocol. Durations are reckoned as Triton does: each request counts in each step,
however many share a run of the model.
"""

import time
from collections import defaultdict
from dataclasses import dataclass, field
from operator import attrgetter

from vitrine.server.inference.call import Call, Stage

ANSWERED = "OK"
"""The outcome of a call that was answered."""


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
    """Requests that were answered, from their arrival until the answer had left."""
    failure: Duration = field(default_factory=Duration)
    """Those that weren't: there was no room, a file was no image, something failed, or the caller went."""
    queue: Duration = field(default_factory=Duration)
    """Waiting for a run."""
    input: Duration = field(default_factory=Duration)
    """Preparing image files, and putting rows together with others'."""
    compute: Duration = field(default_factory=Duration)
    """The model's runs."""
    output: Duration = field(default_factory=Duration)
    """Writing the answer."""
    images: int = 0
    """Images that were classified."""
    runs: int = 0
    """Runs of the model."""
    last: float = 0.0
    """When it last answered, in seconds since 1970; 0: never."""

    def succeeded(self, call: Call) -> None:
        """Counts a request that was answered just now."""
        spent = _spent(call)
        self.success.add(time.monotonic() - call.begin)
        self.queue.add(spent[Stage.QUEUE])
        self.input.add(spent[Stage.PREPARE] + spent[Stage.BATCH])
        self.compute.add(spent[Stage.COMPUTE])
        self.output.add(spent[Stage.ENCODE])
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
        """Those of one version."""
        return self._of.get(label, ModelStatistics())

    def observe(self, call: Call) -> None:
        """Counts a call that is over, where it had images to classify."""
        if not call.images:
            return
        done = self._of[call.model]
        if call.outcome == ANSWERED:
            done.succeeded(call)
        else:
            done.failed(call)

    def ran(self, label: str) -> None:
        """Counts a run."""
        self._of[label].runs += 1


_begin_of = attrgetter("begin")


def _spent(call: Call) -> dict[Stage, float]:
    """How long a call was in each stage: rows that are in several runs wait, and are calculated, at the same time."""
    seconds, until = dict.fromkeys(Stage, 0.0), dict.fromkeys(Stage, call.begin)
    for stage, begin, end in sorted(call.passages, key=_begin_of):
        seconds[stage] += max(0.0, end - max(begin, until[stage]))
        until[stage] = max(until[stage], end)
    return seconds
