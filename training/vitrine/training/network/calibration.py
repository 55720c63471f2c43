"""Calibrates a network's probabilities, and finds the threshold of novelty.

From the logits and labels of a validation part it finds the temperature that the logits are to be divided by, and the
largest novelty of an image like those. It knows arrays only, neither network nor file, and calculates in float64 on
one thread: the same logits give the same figures, bit for bit.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vitrine.model import OutputKind

Floats = npt.NDArray[np.float64]

SHARPEST, SOFTEST = 0.05, 20.0
"""The range of temperatures. A useful one is between 0.5 and 5; beyond this range the network is to be doubted."""

HALVINGS = 48
"""Halvings of the range in search of the temperature; they give 13 right digits."""

KEPT = 0.995
"""The share of rightly classified examples that the novelty threshold keeps.

People who send such images should hardly notice it: it rejects one of 200 that the network classifies rightly. A share
nearer to 1 would depend on the few strangest examples of the validation part. A smaller one would reject more letters,
because the energies of digits and letters overlap, but people would have to write their digits again.
"""

BINS = 15
"""Number of bins of confidence for the calibration error, as in C. Guo et al. 2017."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperature, novelty threshold and errors from a validation part."""

    temperature: float
    """Divisor of the logits; above 1 makes probabilities less sure."""
    novelty_threshold: float
    """The largest novelty, of logits that were divided, of an image like the examples."""
    error_before: float
    """The expected calibration error on the validation part without a temperature, 0 to 1."""
    error: float
    """The same with the temperature: a little flattered, for it was fitted to these examples."""


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Confidence and accuracy of predictions, in `BINS` equal bins of confidence, from 0 to 1."""

    counts: npt.NDArray[np.int64]
    """int64 (15,): how many examples are in the bin."""
    confidence: Floats
    """float64 (15,): the mean of their largest probabilities; NaN in an empty bin."""
    accuracy: Floats
    """float64 (15,): the share of them whose digit was right; NaN in an empty bin."""


def calibrate(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], output: OutputKind) -> Calibration:
    """Finds temperature and novelty threshold.

    Args:
        logits: float32 (V, C), the last linear layer's activations for examples that weren't learnt from.
        labels: int64 (V,), at least one.
        output: the function of the output layer.
    """
    temperature = fit_temperature(logits, labels, output)
    tempered = logits / np.float64(temperature)
    return Calibration(
        temperature,
        fit_novelty_threshold(tempered, labels),
        error_before=expected_calibration_error(_probabilities(logits.astype(np.float64), output), labels),
        error=expected_calibration_error(_probabilities(tempered, output), labels),
    )


def fit_temperature(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.int64], output: OutputKind) -> float:
    """The temperature T that makes the labels likeliest under softmax(logits / T), or sigmoid(logits / T).

    C. Guo et al. 2017 (arXiv:1706.04599). The loss is convex in 1 / T, so its slope changes sign once, and halving the
    range finds where. Examples without any mistake have no such place: the likelihood would have T run to 0, and
    probabilities to a certainty that a few right answers don't prove. They say nothing of T, and it stays 1.

    Args:
        logits: float (V, C).
        labels: int64 (V,), at least one.
        output: `softmax` has cross-entropy; `sigmoid` binary cross-entropy, each class a question of its own.

    Returns:
        The temperature, `SHARPEST` to `SOFTEST`.
    """
    exact = logits.astype(np.float64)
    targets = np.eye(logits.shape[1])[labels]  # (V, C), 1 for the right class
    if output == "softmax":
        exact -= exact[targets == 1][:, None]  # moves no probability; whatever is above 0 now is a mistake
    if not ((1 - 2 * targets) * exact > 0).any():
        return 1.0
    low, high = math.log(SHARPEST), math.log(SOFTEST)  # by ratio: from 0.1 to 0.2 is as far as from 10 to 20
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        too_sharp = _slope(exact, targets, math.exp(-middle), output) > 0
        low, high = (middle, high) if too_sharp else (low, middle)
    return math.exp(high)


def fit_novelty_threshold(logits: Floats, labels: npt.NDArray[np.int64]) -> float:
    """The novelty up to which the share `KEPT` of new examples is to be expected, if they are like these.

    The rank that promises that is taken of the V examples and the new one together, so it is the ⌈0.995 (V + 1)⌉th
    smallest novelty (V. Vovk et al. 2005, *Algorithmic Learning in a Random World*). Fewer than 199 can't
    promise as much; then it is the largest. Mistakes don't count, as long as there are right ones: some of them show no
    class at all. The same examples may have chosen the epoch, which flatters the promise a little.

    Args:
        logits: float64 (V, C), divided by the temperature.
        labels: int64 (V,), at least one.
    """
    right = logits.argmax(axis=1) == labels
    novelty = np.sort(_novelty(logits[right] if right.any() else logits))
    rank = min(math.ceil(KEPT * (len(novelty) + 1)), len(novelty))  # the first is 1
    return float(novelty[rank - 1])


def expected_calibration_error(probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> float:
    """The expected calibration error: the mean over examples of |accuracy − confidence| of their bin, 0 to 1.

    Args:
        probabilities: float (N, C), the output layer's activations.
        labels: int64 (N,), at least one.
    """
    bins = reliability(probabilities, labels)
    filled = bins.counts > 0
    gaps = np.abs(bins.accuracy[filled] - bins.confidence[filled])
    return float(np.average(gaps, weights=bins.counts[filled]))


def reliability(probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> Reliability:
    """Sorts predictions into bins by their confidence, the largest probability; a bin's upper end belongs to it.

    Args:
        probabilities: float (N, C), the output layer's activations.
        labels: int64 (N,).
    """
    confidence = probabilities.max(axis=1).astype(np.float64)  # (N,)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    upper_ends = np.arange(1, BINS) / BINS  # but the last one's, 1: rounding may take a probability beyond it
    bins = np.searchsorted(upper_ends, confidence)  # (N,), 0 to 14
    counts = np.bincount(bins, minlength=BINS)
    divisor = np.where(counts > 0, counts, np.nan)
    return Reliability(
        counts,
        confidence=np.bincount(bins, confidence, BINS) / divisor,
        accuracy=np.bincount(bins, right, BINS) / divisor,
    )


def _slope(logits: Floats, targets: Floats, sharpness: float, output: OutputKind) -> float:
    """The derivative of the mean loss by `sharpness`, 1 / T.

    Both losses have the same derivative by the logits: the probabilities, less 1 for the right class.
    """
    return float(((_probabilities(logits * sharpness, output) - targets) * logits).sum() / len(logits))


def _probabilities(logits: Floats, output: OutputKind) -> Floats:
    if output == "sigmoid":
        return (1 + np.tanh(logits / 2)) / 2  # overflows nowhere
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Floats = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def _novelty(logits: Floats) -> Floats:
    """As `novelty_of` has it: (V, C) to (V,)."""
    log_sum_exp: Floats = np.logaddexp.reduce(logits, axis=1)
    return -log_sum_exp
