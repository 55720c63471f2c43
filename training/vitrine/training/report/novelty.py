"""How well a network's novelty tells images that show no digit from digits, and what its threshold does to both."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from vitrine.training.network.evaluate import calculate_logits, probabilities_of
from vitrine.training.network.mlp import MLP, novelty_of
from vitrine.training.rendering.nondigits import NON_DIGITS, make_non_digits, printed_digits
from vitrine.training.report.roc import auroc, roc_curve

REFUSED_DIGITS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""At which shares of refused digits the report says what share of a set is refused."""


@dataclass(frozen=True, slots=True)
class NoveltyPlan:
    """What novelty is to be measured with."""

    count: int = 300
    """How many images of each set."""
    seed: int = 0
    """Where all of them come from."""
    fonts: Path | None = None
    """A folder whose fonts take the place of the bundled ones."""
    look_alikes: bool = False
    """Whether letters with a digit's shape are among the letters, too."""


@dataclass(frozen=True, slots=True, eq=False)
class SetOutcome:
    """What novelty makes of one set of images that show no digit."""

    name: str
    """The set's."""
    pixels: npt.NDArray[np.uint8]
    """uint8 (N, 18, 18), 0 = white (paper), 255 = black (ink): the images, prepared."""
    probabilities: npt.NDArray[np.float32]
    """float32 (N, 10): the output layer's activations."""
    scores: npt.NDArray[np.float32]
    """float32 (N,): each image's novelty."""
    auroc: float
    """How often one of them is more novel than a held-out digit, 0 to 1."""
    refused: float
    """The share above the threshold, 0 to 1."""

    @property
    def empty(self) -> float:
        """The share of images without any ink once they are prepared, 0 to 1."""
        return float((~self.pixels.any(axis=(1, 2))).mean())


@dataclass(frozen=True, slots=True, eq=False)
class Novelty:
    """What novelty makes of digits and of what is none."""

    plan: NoveltyPlan
    """What it was measured with."""
    threshold: float
    """The largest novelty that passes for a digit's."""
    digits: npt.NDArray[np.float32]
    """float32 (N,): the novelty of each held-out digit."""
    printed: npt.NDArray[np.float32]
    """float32 (N,): the novelty of each printed digit."""
    printed_recognised: float
    """The share of printed digits that are taken for what they are, 0 to 1."""
    sets: Sequence[SetOutcome]
    """Every set of images that show no digit."""

    @property
    def kept(self) -> float:
        """The share of held-out digits that pass for digits, 0 to 1."""
        return float((self.digits <= self.threshold).mean())

    @property
    def printed_kept(self) -> float:
        """The share of printed digits that pass for digits, 0 to 1."""
        return float((self.printed <= self.threshold).mean())

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        printed = {"count": len(self.printed), "kept": self.printed_kept, "recognised": self.printed_recognised}
        return {
            "seed": self.plan.seed,
            "fonts": self.plan.fonts and str(self.plan.fonts),
            "look_alikes": self.plan.look_alikes,
            "threshold": self.threshold,
            "digits": {"count": len(self.digits), "kept": self.kept},
            "printed_digits": printed,
            "sets": [self._set_to_dict(each) for each in self.sets],
        }

    def _set_to_dict(self, outcome: SetOutcome) -> dict[str, Any]:
        digits, others = roc_curve(self.digits, outcome.scores)
        reached = [float(others[np.searchsorted(digits, share, "right") - 1]) for share in REFUSED_DIGITS]
        return {
            "set": outcome.name,
            "count": len(outcome.scores),
            "empty": outcome.empty,
            "auroc": outcome.auroc,
            "refused": outcome.refused,
            "refused_by_refused_digits": dict(zip(map(str, REFUSED_DIGITS), reached, strict=True)),
        }


def measure_novelty(
    mlp: MLP, threshold: float, digits: npt.NDArray[np.float32], plan: NoveltyPlan, *, progress: bool = True
) -> Novelty:
    """Makes every set of images that show no digit, and scores them.

    Args:
        mlp: the network as it is served, its logits divided by the temperature; on the CPU.
        threshold: the largest novelty that passes for a digit's.
        digits: float32 (N,), the novelty of held-out digits, at least one.
        plan: how many images, and where they come from.
        progress: whether to show bars.

    Raises:
        ConfigError: the folder of fonts has none that is usable.
    """
    sets = [_measure_set(mlp, threshold, digits, name, plan, progress) for name in NON_DIGITS]
    pixels, labels = printed_digits(plan.count, plan.seed, "evaluation", fonts=plan.fonts, shape=mlp.shape)
    logits = calculate_logits(mlp, torch.tensor(pixels))
    recognised = float((logits.argmax(dim=1).numpy() == labels).mean())
    return Novelty(plan, threshold, digits, novelty_of(logits).numpy(), recognised, sets)


def _measure_set(
    mlp: MLP, threshold: float, digits: npt.NDArray[np.float32], name: str, plan: NoveltyPlan, progress: bool
) -> SetOutcome:
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
    return SetOutcome(name, pixels, probabilities, scores, auroc(digits, scores), refused)
