"""Draws the calibration curve and the ROC curves of a report as PNG."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from vitrine.training.network.calibration import Reliability
from vitrine.training.report.novelty import NoveltyReport
from vitrine.training.report.roc import roc_curve
from vitrine.training.run.plots import MARKED, TRAINING, VALIDATION, save

SETS = ("#1f5fbf", "#c8553d", "#3a8f5c", "#8a5fbf", "#b8860b", "#2a9aa8", "#c2528b", "#5b6472")
"""A colour for each set of images."""

STYLES = ("-", "--")
"""Line styles: the next one where the colours are used up."""


def draw_calibration(curve: Reliability, error: float, path: Path) -> None:
    """Writes accuracy against confidence, with the number of examples per bin."""
    figure = Figure(figsize=(6.5, 6), layout="constrained")
    accuracy, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    bins = len(curve.counts)
    middles, filled = (np.arange(bins) + 0.5) / bins, curve.counts > 0
    accuracy.plot([0, 1], [0, 1], color=TRAINING, linestyle="--", label="calibrated")
    accuracy.bar(middles[filled], curve.accuracy[filled], 0.92 / bins, color=VALIDATION, alpha=0.25)
    shares = curve.accuracy[filled]
    reach = np.abs(wilson_interval(shares, curve.counts[filled]) - shares)  # (2, B)
    accuracy.errorbar(curve.confidence[filled], shares, reach, fmt="o", color=VALIDATION, label="this network, ± 95%")
    accuracy.set_ylabel("accuracy")
    accuracy.set_title(f"Expected calibration error {error:.2%}", loc="left", fontsize=11)
    accuracy.set_ylim(0, 1.03)
    accuracy.legend(frameon=False, fontsize=9, loc="upper left")
    counts.bar(middles[filled], curve.counts[filled], 0.92 / bins, color=TRAINING, log=True)
    counts.set_ylim(bottom=0.5)
    counts.set_ylabel("images")
    counts.set_xlabel("confidence: the largest probability")
    for axes in (accuracy, counts):
        _style(axes)
    save(figure, path)


def draw_roc(novelty: NoveltyReport, path: Path) -> None:
    """Writes the ROC curve of each set: share of refused images against share of refused digits."""
    figure = Figure(figsize=(7.5, 5.5), layout="constrained")
    axes = figure.subplots()
    fewest = 1 / len(novelty.digits)
    for number, result in enumerate(novelty.sets):
        digits, others = roc_curve(novelty.digits, result.scores)
        label = f"{result.name}, AUROC {result.auroc:.3f}"
        colour, style = SETS[number % len(SETS)], STYLES[number // len(SETS) % len(STYLES)]
        axes.plot(np.maximum(digits, fewest), others, style, color=colour, label=label, drawstyle="steps-post")
    threshold = max(1 - novelty.kept, fewest)
    axes.axvline(threshold, color=MARKED, linewidth=1.2, linestyle=":", label=f"threshold: {1 - novelty.kept:.2%}")
    axes.set_xscale("log")
    axes.set_xlim(fewest, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("digits refused")
    axes.set_ylabel("images without a digit refused")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    _style(axes)
    save(figure, path)


def wilson_interval(shares: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """95 % intervals of the true shares, given observed `shares` and `counts`: float64 (2, B).

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA (1927).
    """
    z = 1.96
    middle = shares + z**2 / (2 * counts)
    reach = z * np.sqrt(shares * (1 - shares) / counts + z**2 / (4 * counts**2))
    return np.stack([middle - reach, middle + reach]) / (1 + z**2 / counts)


def _style(axes: Axes) -> None:
    axes.grid(color="#e6e8ec", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
