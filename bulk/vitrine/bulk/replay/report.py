"""The report of a replay: text for people, a document for programs, and a table of the changed images."""

import csv
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vitrine.bulk.replay.comparison import STEPS, Change, Comparison
from vitrine.model import VitrineError

SHOWN_CHANGES = 10
"""Changed images in the text, those with the largest differences."""

SHOWN_PAIRS = 15
"""Pairs of labels in the text, the most frequent first."""

COLUMNS = (
    "request_id",
    "image",
    "time",
    "captured_label",
    "captured_probability",
    "label",
    "probability",
    "difference",
    "captured_is_digit",
    "is_digit",
    "captured_novelty",
    "novelty",
)
"""The columns of the table, and the keys of an image in the document."""


def row_of(change: Change) -> dict[str, Any]:
    """A changed image as plain data."""
    row = {name: getattr(change, name) for name in COLUMNS}
    difference = None if math.isnan(change.difference) else change.difference
    return row | {"time": change.time.isoformat(timespec="milliseconds"), "difference": difference}


def text_of(comparison: Comparison) -> str:
    """The report for people."""
    return "\n".join(
        line
        for section in (_header, _totals, _pairs, _values, _layers, _changes, _faults)
        for line in section(comparison)
    )


def document_of(comparison: Comparison) -> dict[str, Any]:
    """The report for programs."""
    novelty = comparison.novelty
    return {
        "images": comparison.images,
        "captured_models": dict(comparison.by_model),
        "model": comparison.model.label,
        "first": comparison.first and comparison.first.isoformat(),
        "last": comparison.last and comparison.last.isoformat(),
        "seconds": round(comparison.seconds, 3),
        "images_per_second": round(comparison.rate, 1),
        "changed": comparison.changed,
        "other_class": comparison.confusion.total(),
        "became_digits": novelty.became_digits,
        "became_no_digits": novelty.became_no_digits,
        "confusion": [{"captured": a, "now": b, "images": n} for (a, b), n in comparison.confusion.most_common()],
        "probability_differences": {
            "images": comparison.probabilities_compared,
            "mean": _mean(comparison.difference, comparison.probabilities_compared),
            "largest": comparison.largest_difference,
            "beyond": {str(step): comparison.beyond[step] for step in STEPS},
        },
        "novelty": {
            "images": novelty.images,
            "captured_mean": _mean(novelty.captured, novelty.images),
            "mean": _mean(novelty.now, novelty.images),
        },
        "layers": {
            layer: {"relative_difference": each.relative, "largest_of_an_image": each.largest}
            for layer, each in comparison.layers.items()
        },
        "layers_not_compared": comparison.not_compared,
        "changed_images": [row_of(change) for change in comparison.changes],
        "errors": dict(comparison.errors),
        "damaged": comparison.damaged,
    }


@contextmanager
def table_of_changes(path: Path | None) -> Iterator[Callable[[Change], None]]:
    """Writes all changed images to a CSV file as they come; None: to nowhere.

    Raises:
        VitrineError: the file can't be written.
    """
    if path is None:
        yield lambda _: None
        return
    with _writing(path):
        file = path.open("w", newline="", encoding="utf-8")
    table = csv.DictWriter(file, COLUMNS)

    def write(change: Change) -> None:
        with _writing(path):
            table.writerow(row_of(change))

    try:
        with _writing(path):
            table.writeheader()
        yield write
    finally:
        with _writing(path):
            file.close()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Says which file can't be written, where that fails."""
    try:
        yield
    except OSError as error:
        raise VitrineError(f"{path} can't be written: {error.strerror}") from error


def _header(comparison: Comparison) -> Iterator[str]:
    models = ", ".join(comparison.by_model) or "no model"
    when = f", {comparison.first:%Y-%m-%d %H:%M} to {comparison.last:%Y-%m-%d %H:%M} UTC" if comparison.first else ""
    yield f"captured  {comparison.images:,} images, answered by {models}{when}"
    yield f"now       {comparison.model.label}, {comparison.rate:,.0f} images/s"


def _totals(comparison: Comparison) -> Iterator[str]:
    other, novelty = comparison.confusion.total(), comparison.novelty
    counts = {
        "the same answer": comparison.images - comparison.changed,
        "another class": other,
        **(
            {"taken for a digit now": novelty.became_digits, "no digit now": novelty.became_no_digits}
            if novelty.images
            else {}
        ),
    }
    yield ""
    for name, count in counts.items():
        yield f"{name:<22}{count:>10,}  {count / max(1, comparison.images):8.2%}"


def _pairs(comparison: Comparison) -> Iterator[str]:
    if not comparison.confusion:
        return
    yield ""
    yield "captured → now  images"
    for (before, now), count in comparison.confusion.most_common(SHOWN_PAIRS):
        yield f"{before:>8} → {now:<4}{count:>7,}"
    if (rest := len(comparison.confusion) - SHOWN_PAIRS) > 0:
        yield f"and {rest} further pairs"


def _values(comparison: Comparison) -> Iterator[str]:
    yield ""
    if images := comparison.probabilities_compared:
        beyond = ", ".join(f"{comparison.beyond[step]:,} beyond {step:g}" for step in STEPS)
        yield (
            f"probabilities: an image's largest difference is {comparison.difference / images:.4f} on average, "
            f"{comparison.largest_difference:.4f} at most; {beyond}"
        )
    else:
        yield "probabilities: not compared, since the models have other classes"
    if images := comparison.novelty.images:
        before, now = comparison.novelty.captured / images, comparison.novelty.now / images
        yield f"novelty: {now:.3f} on average, {now - before:+.3f} from the captured {before:.3f}"


def _layers(comparison: Comparison) -> Iterator[str]:
    if not comparison.layers and not comparison.not_compared:
        return
    width = max(map(len, (*comparison.layers, *comparison.not_compared)))
    yield ""
    yield "activations: ‖now − captured‖ / ‖captured‖"
    for layer, each in comparison.layers.items():
        yield f"  {layer:<{width}}  {each.relative:8.2%}, of one image {each.largest:.2%} at most"
    for layer, reason in comparison.not_compared.items():
        yield f"  {layer:<{width}}  not compared: {reason}"


def _changes(comparison: Comparison) -> Iterator[str]:
    shown = comparison.changes[:SHOWN_CHANGES]
    if not shown:
        return
    yield ""
    yield f"the {len(shown)} largest changes of {comparison.changed:,}"
    for change in shown:
        yield (
            f"  {change.time:%Y-%m-%d %H:%M:%S}  {change.request_id}/{change.image}  "
            f"{answer_of(change.captured_label, change.captured_probability, change.captured_is_digit)} → "
            f"{answer_of(change.label, change.probability, change.is_digit)}"
        )


def _faults(comparison: Comparison) -> Iterator[str]:
    if comparison.errors or comparison.damaged:
        yield ""
    for error, count in comparison.errors.most_common():
        yield f"{count:,} images without an answer: {error}"
    for name, reason in comparison.damaged.items():
        yield f"damaged: {name}: {reason}"


def answer_of(label: str, probability: float, is_digit: bool | None) -> str:
    """An answer in a few characters."""
    return f"{label} {probability:.0%}" + (" (no digit)" if is_digit is False else "")


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None
