"""The answers of another model beside those that were captured, image by image, in bounded memory.

It knows answers as arrays, and neither files nor engines.
"""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from vitrine.bulk.chunks import Floats, ModelInfo, Scores
from vitrine.bulk.replay.captures import CapturedChunk

MOST_CHANGES = 1000
"""Changed images that are remembered, those with the largest differences; all of them are counted."""

STEPS = (0.01, 0.1, 0.5)
"""Differences of probabilities beyond which images are counted."""


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """An image that the other model answers otherwise: another class, or another judgement whether it is a digit."""

    request_id: str
    """The id of its request."""
    image: int
    """Its place among the images of the request."""
    time: datetime
    """When it was answered."""
    captured_label: str
    """The class that was predicted."""
    captured_probability: float
    """The probability of that class then."""
    label: str
    """The class that is predicted now."""
    probability: float
    """The probability of this class now."""
    difference: float
    """The largest difference of a class's probability, 0 to 1; NaN where the models have other classes."""
    captured_is_digit: bool | None
    """The judgement then; None: there was none."""
    is_digit: bool | None
    """The judgement now."""
    captured_novelty: float | None
    """The novelty then."""
    novelty: float | None
    """The novelty now."""
    pixels: npt.NDArray[np.uint8]
    """uint8 (height, width)."""


@dataclass(slots=True)
class LayerDifference:
    """The difference of a layer's activations between two models, over all images."""

    difference: float = 0.0
    """Sum of the squares of the differences."""
    captured: float = 0.0
    """Sum of the squares of the captured activations."""
    largest: float = 0.0
    """The largest relative difference of one image."""

    def add(self, captured: Floats, now: Floats) -> None:
        """Adds images: float32 (N, width) both."""
        differences = np.square(now - captured, dtype=np.float64).sum(axis=1)  # (N,)
        sizes = np.square(captured, dtype=np.float64).sum(axis=1)
        self.difference += float(differences.sum())
        self.captured += float(sizes.sum())
        each = np.sqrt(np.divide(differences, sizes, out=np.zeros_like(sizes), where=sizes > 0))
        self.largest = max(self.largest, float(each.max(initial=0.0)))

    @property
    def relative(self) -> float:
        """‖now − captured‖ / ‖captured‖ over all images; 0 where nothing was active."""
        return float(np.sqrt(self.difference / self.captured)) if self.captured else 0.0


@dataclass(slots=True)
class NoveltyShift:
    """The novelty of images then and now."""

    images: int = 0
    """Images that both models have judged."""
    captured: float = 0.0
    """Sum of the novelty then."""
    now: float = 0.0
    """Sum of the novelty now."""
    became_digits: int = 0
    """Images judged digits now, and not before."""
    became_no_digits: int = 0
    """Images judged digits before, and not now."""

    def add(self, captured: CapturedChunk, scores: Scores) -> None:
        """Adds images, if both models judge."""
        if captured.novelty is None or captured.is_digit is None or scores.novelty is None or scores.is_digit is None:
            return
        self.images += len(captured)
        self.captured += float(captured.novelty.sum(dtype=np.float64))
        self.now += float(scores.novelty.sum(dtype=np.float64))
        self.became_digits += int(np.count_nonzero(scores.is_digit & ~captured.is_digit))
        self.became_no_digits += int(np.count_nonzero(captured.is_digit & ~scores.is_digit))


@dataclass(slots=True)
class Comparison:
    """Everything that is known of a replay; images are added chunk by chunk."""

    model: ModelInfo
    """The model that answers now."""
    told: Callable[[Change], None] = lambda _: None
    """Told of every changed image, in the order of the images."""
    images: int = 0
    """Images that were compared."""
    by_model: Counter[str] = field(default_factory=Counter)
    """Images by the model that answered them then, NAME@VERSION."""
    first: datetime | None = None
    """When the first image was answered."""
    last: datetime | None = None
    """When the last one was."""
    changed: int = 0
    """Images with another class or another judgement."""
    confusion: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Images of another class, by the labels then and now."""
    probabilities_compared: int = 0
    """Images of models with the same classes as now."""
    difference: float = 0.0
    """Sum of these images' largest differences of a probability."""
    largest_difference: float = 0.0
    """The largest of them."""
    beyond: Counter[float] = field(default_factory=Counter)
    """These images by the difference that they pass."""
    novelty: NoveltyShift = field(default_factory=NoveltyShift)
    """The novelty then and now."""
    layers: dict[str, LayerDifference] = field(default_factory=dict)
    """The layers of the same name and width."""
    not_compared: dict[str, str] = field(default_factory=dict)
    """The reason why a captured layer isn't compared."""
    errors: Counter[str] = field(default_factory=Counter)
    """Images that the model couldn't answer, by the error."""
    damaged: dict[str, str] = field(default_factory=dict)
    """The reason why a part couldn't be read, by its file's name."""
    seconds: float = 0.0
    """Time that it took."""
    _largest: list[tuple[float, int, Change]] = field(default_factory=list)
    _number: Iterator[int] = field(default_factory=itertools.count)

    @property
    def changes(self) -> list[Change]:
        """The changed images with the largest differences, `MOST_CHANGES` at most, largest first."""
        return [change for _, _, change in sorted(self._largest, key=lambda entry: (-entry[0], -entry[1]))]

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds if self.seconds else 0.0

    def wanted_layers(self, captured: Mapping[str, int]) -> tuple[str, ...]:
        """The layers that can be compared, of those that a part has; the others are noted with the reason."""
        now = {layer: int(np.prod(shape)) for layer, shape in self.model.layers.items()}
        for layer, width in captured.items():
            if layer not in now:
                self.not_compared[layer] = "the model has no such layer"
            elif now[layer] != width:
                self.not_compared[layer] = f"it had {width:,} units, and has {now[layer]:,}"
        return tuple(layer for layer, width in captured.items() if now.get(layer) == width)

    def add(self, captured: CapturedChunk, scores: Scores) -> None:
        """Compares images with their scores now."""
        if scores.errors:
            self.errors.update(scores.errors.values())
            rows = np.array([row for row in range(len(captured)) if row not in scores.errors], np.int64)
            captured, scores = captured.at(rows), _at(scores, rows)
        if not len(captured):
            return
        self.images += len(captured)
        self.by_model[captured.part.model] += len(captured)
        self.first = min(filter(None, (self.first, _moment(captured.times.min()))))
        self.last = max(filter(None, (self.last, _moment(captured.times.max()))))
        self.novelty.add(captured, scores)
        for layer, values in scores.activations.items():
            self.layers.setdefault(layer, LayerDifference()).add(
                captured.activations[layer], values.reshape(len(values), -1)
            )
        self._add_changes(captured, scores, self._differences(captured, scores))

    def _differences(self, captured: CapturedChunk, scores: Scores) -> npt.NDArray[np.float64]:
        """The largest difference of a probability of each image, float64 (N,); NaN where classes are others."""
        if captured.part.classes != self.model.classes:
            return np.full(len(captured), np.nan)
        differences: npt.NDArray[np.float64]
        differences = np.abs(scores.probabilities.astype(np.float64) - captured.probabilities).max(axis=1)
        self.probabilities_compared += len(differences)
        self.difference += float(differences.sum())
        self.largest_difference = max(self.largest_difference, float(differences.max()))
        self.beyond.update({step: int(np.count_nonzero(differences > step)) for step in STEPS})
        return differences

    def _add_changes(self, captured: CapturedChunk, scores: Scores, differences: npt.NDArray[np.float64]) -> None:
        before = np.array(captured.part.classes, object)[captured.classes]
        now = np.array(self.model.classes, object)[scores.classes]
        other_class = before != now
        self.confusion.update(zip(before[other_class], now[other_class], strict=True))
        changed = other_class
        if captured.is_digit is not None and scores.is_digit is not None:
            changed = other_class | (captured.is_digit != scores.is_digit)
        self.changed += int(np.count_nonzero(changed))
        for row in np.flatnonzero(changed).tolist():
            change = _change(row, captured, scores, (before[row], now[row]), float(differences[row]))
            self.told(change)
            entry = (np.nan_to_num(change.difference), -next(self._number), change)
            if len(self._largest) < MOST_CHANGES:
                heapq.heappush(self._largest, entry)
            else:
                heapq.heappushpop(self._largest, entry)


def _change(row: int, captured: CapturedChunk, scores: Scores, labels: tuple[str, str], difference: float) -> Change:
    return Change(
        captured.request_ids[row],
        int(captured.places[row]),
        _moment(captured.times[row]),
        labels[0],
        float(captured.probabilities[row, captured.classes[row]]),
        labels[1],
        float(scores.probabilities[row, scores.classes[row]]),
        difference,
        None if captured.is_digit is None else bool(captured.is_digit[row]),
        None if scores.is_digit is None else bool(scores.is_digit[row]),
        None if captured.novelty is None else float(captured.novelty[row]),
        None if scores.novelty is None else float(scores.novelty[row]),
        captured.pixels[row].copy(),  # a view would hold the whole chunk
    )


def _at(scores: Scores, rows: npt.NDArray[np.int64]) -> Scores:
    """Some of the rows."""
    return Scores(
        scores.classes[rows],
        scores.probabilities[rows],
        {layer: values[rows] for layer, values in scores.activations.items()},
        None if scores.novelty is None else scores.novelty[rows],
        None if scores.is_digit is None else scores.is_digit[rows],
        errors={},
    )


def _moment(microseconds: np.int64) -> datetime:
    return datetime.fromtimestamp(int(microseconds) / 1e6, UTC)
