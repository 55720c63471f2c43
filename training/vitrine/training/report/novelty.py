"""Measures the separation of digits and images without a digit by novelty, with and without the threshold."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from vitrine.training.network.evaluate import calculate_logits, probabilities_of
from vitrine.training.network.mlp import MLP, novelty_of
from vitrine.training.rendering.nondigits import LOOK_ALIKE_SETS, NON_DIGITS, make_non_digits, printed_digits
from vitrine.training.report.roc import auroc, roc_curve

KEPT_DIGITS = 0.98
"""Share of held-out digits that are kept where the tables count images taken for digits."""

REFUSED_DIGITS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of refused digits for which the report gives the share of refused images of each set."""


@dataclass(frozen=True, slots=True)
class NoveltyPlan:
    """Settings of the novelty measurement."""

    count: int = 300
    """Images per set."""
    seed: int = 0
    """Seed of all images."""
    fonts: Path | None = None
    """Folder of fonts to use instead of the bundled ones."""
    look_alikes: bool = False
    """True includes letters that look like digits."""


@dataclass(frozen=True, slots=True, eq=False)
class SetResult:
    """Novelty results for one set of images without a digit."""

    name: str
    """Name of the set."""
    pixels: npt.NDArray[np.uint8]
    """uint8 (N, H, W), 0 = white (paper), 255 = black (ink): the prepared images."""
    probabilities: npt.NDArray[np.float32]
    """float32 (N, C): activations of the output layer."""
    scores: npt.NDArray[np.float32]
    """float32 (N,): novelty of each image."""
    auroc: float
    """AUROC against the held-out digits, 0 to 1."""
    refused: float
    """Share of images with a novelty above the threshold, 0 to 1."""

    @property
    def empty(self) -> float:
        """Share of images without ink after preparation, 0 to 1."""
        return float((~self.pixels.any(axis=(1, 2))).mean())


@dataclass(frozen=True, slots=True, eq=False)
class NoveltyReport:
    """Novelty results for digits and for images without a digit."""

    plan: NoveltyPlan
    """Settings of the measurement."""
    threshold: float
    """Novelty threshold: images with a higher novelty are refused."""
    digits: npt.NDArray[np.float32]
    """float32 (N,): novelty of each held-out digit."""
    printed: npt.NDArray[np.float32]
    """float32 (N,): novelty of each printed digit."""
    printed_recognised: float
    """Share of correctly classified printed digits, 0 to 1."""
    sets: Sequence[SetResult]
    """Results of all sets."""
    look_alikes: Sequence[SetResult] = ()
    """Results of the sets of letters that look like a digit."""

    @property
    def kept(self) -> float:
        """Share of held-out digits at or below the threshold, 0 to 1."""
        return float((self.digits <= self.threshold).mean())

    @property
    def printed_kept(self) -> float:
        """Share of printed digits at or below the threshold, 0 to 1."""
        return float((self.printed <= self.threshold).mean())

    def taken_for_digits(self, result: SetResult) -> float:
        """Share of a set's images that pass as digits at the threshold that keeps `KEPT_DIGITS`, 0 to 1."""
        return float((result.scores <= np.quantile(self.digits, KEPT_DIGITS, method="inverted_cdf")).mean())

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        printed = {"count": len(self.printed), "kept": self.printed_kept, "recognised": self.printed_recognised}
        return {
            "seed": self.plan.seed,
            "fonts": self.plan.fonts and str(self.plan.fonts),
            "look_alikes": self.plan.look_alikes,
            "threshold": self.threshold,
            "digits": {"count": len(self.digits), "kept": self.kept},
            "printed_digits": printed,
            "sets": [self._set_to_dict(each) for each in self.sets],
            "look_alike_sets": [self._set_to_dict(each) for each in self.look_alikes],
        }

    def _set_to_dict(self, result: SetResult) -> dict[str, Any]:
        digits, others = roc_curve(self.digits, result.scores)
        reached = [float(others[np.searchsorted(digits, share, "right") - 1]) for share in REFUSED_DIGITS]
        return {
            "set": result.name,
            "count": len(result.scores),
            "empty": result.empty,
            "auroc": result.auroc,
            "refused": result.refused,
            "taken_for_digits": self.taken_for_digits(result),
            "refused_by_refused_digits": dict(zip(map(str, REFUSED_DIGITS), reached, strict=True)),
        }


def measure_novelty(
    mlp: MLP, threshold: float, digits: npt.NDArray[np.float32], plan: NoveltyPlan, *, progress: bool = True
) -> NoveltyReport:
    """Generates all sets of images without a digit, and measures their novelty.

    Args:
        mlp: the network as served, with its logits divided by the temperature; on the CPU.
        threshold: novelty threshold.
        digits: float32 (N,), novelty of the held-out digits, at least one.
        plan: number and source of the images.
        progress: True shows progress bars.

    Raises:
        ConfigError: the folder of fonts has no usable font.
    """
    sets, look_alikes = (
        [_measure_set(mlp, threshold, digits, name, plan, progress) for name in names]
        for names in (NON_DIGITS, LOOK_ALIKE_SETS)
    )
    pixels, labels = printed_digits(plan.count, plan.seed, "evaluation", fonts=plan.fonts, shape=mlp.shape)
    logits = calculate_logits(mlp, torch.tensor(pixels))
    recognised = float((logits.argmax(dim=1).numpy() == labels).mean())
    return NoveltyReport(plan, threshold, digits, novelty_of(logits).numpy(), recognised, sets, look_alikes)


def _measure_set(
    mlp: MLP, threshold: float, digits: npt.NDArray[np.float32], name: str, plan: NoveltyPlan, progress: bool
) -> SetResult:
    pixels = make_non_digits(
        name,
        plan.count,
        plan.seed,
        part="evaluation",
        fonts=plan.fonts,
        look_alikes=plan.look_alikes,
        shape=mlp.shape,
        progress=progress,
    )
    logits = calculate_logits(mlp, torch.tensor(pixels))
    scores, probabilities = novelty_of(logits).numpy(), probabilities_of(mlp, logits)
    refused = float((scores > threshold).mean())
    return SetResult(name, pixels, probabilities, scores, auroc(digits, scores), refused)
