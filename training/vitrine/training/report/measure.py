"""Measures all that a report tells of a run. It writes and prints nothing."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from vitrine.model import DIGITS
from vitrine.training.data import Examples
from vitrine.training.errors import ConfigError
from vitrine.training.network.calibration import Reliability, expected_calibration_error, reliability
from vitrine.training.network.evaluate import Evaluation, calculate_logits, probabilities_of
from vitrine.training.network.mlp import novelty_of
from vitrine.training.rendering.stress import CONDITIONS, Outcome, measure_stress
from vitrine.training.report.mistakes import Mistake, find_mistakes
from vitrine.training.report.novelty import Novelty, NoveltyPlan, measure_novelty
from vitrine.training.run.checkpoint import Checkpoint
from vitrine.training.run.completion import export_checkpoint

MISTAKES = 60
"""How many of the most wrong examples are told of at most."""


@dataclass(frozen=True, slots=True, eq=False)
class StressPlan:
    """What the stress set is to be rendered from."""

    images: npt.NDArray[np.uint8]
    """uint8 (N, 28, 28), 0 = paper, 255 = ink: MNIST's digits that the run wasn't trained on."""
    labels: npt.NDArray[np.int64]
    """int64 (N,)."""
    count: int = 300
    """How many digits for each condition."""
    seed: int = 0
    """Where all that is random comes from."""


@dataclass(frozen=True, slots=True)
class Stress:
    """How many digits a network recognises as people send them."""

    seed: int
    """Where all that is random came from."""
    outcomes: Sequence[Outcome]
    """What it made of each condition; at least one."""

    @property
    def mean(self) -> float:
        """The mean over conditions of the share of recognised digits, 0 to 1."""
        return sum(outcome.accuracy for outcome in self.outcomes) / len(self.outcomes)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return {
            "seed": self.seed,
            "mean": self.mean,
            "conditions": [outcome.to_dict() for outcome in self.outcomes],
        }


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """How good a run's network is on examples that it wasn't trained on, and where it is weak."""

    model: str
    """What the model is called when it is served."""
    dataset: str
    """What the examples are from."""
    temperature: float
    """What the network's logits are divided by."""
    evaluation: Evaluation
    """Its error, and which digits it takes for which."""
    calibration_error: float
    """The expected calibration error, 0 to 1."""
    reliability: Reliability
    """What its probabilities promised and kept, by bins of confidence."""
    most_wrong: Sequence[Mistake]
    """The examples whose digit it holds less than even probable, the worst first; at most `MISTAKES`."""
    novelty: Novelty | None
    """What it makes of images that show no digit, where that was measured."""
    stress: Stress | None
    """What it makes of digits as people send them, where that was measured."""

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON: every number of the report."""
        return {
            "model": self.model,
            "dataset": self.dataset,
            **self.evaluation.to_dict(),
            "calibration": {
                "temperature": self.temperature,
                "expected_calibration_error": self.calibration_error,
                "bins": _bins(self.reliability),
            },
            "novelty": self.novelty and self.novelty.to_dict(),
            "stress": self.stress and self.stress.to_dict(),
            "most_wrong": [mistake.to_dict() for mistake in self.most_wrong],
        }


def _bins(curve: Reliability) -> list[dict[str, Any]]:
    means = zip(curve.counts.tolist(), curve.confidence.tolist(), curve.accuracy.tolist(), strict=True)
    return [
        {"count": count, "confidence": confidence if count else None, "accuracy": accuracy if count else None}
        for count, confidence, accuracy in means
    ]


def make_report(
    checkpoint: Checkpoint,
    examples: Examples,
    dataset: str,
    *,
    novelty: NoveltyPlan | None = None,
    stress: StressPlan | None = None,
    progress: bool = True,
) -> Report:
    """Measures the network that a run kept.

    Args:
        checkpoint: what the run has reached; at least an epoch.
        examples: at least one, none of which it was trained on.
        dataset: what they are from.
        novelty: how to measure what it makes of images that show no digit; None leaves that out.
        stress: how to measure digits as people send them; None leaves that out.
        progress: whether to show bars for the parts that take long.

    Raises:
        ArtifactError: the artifact, which the stress set is measured with, deviates from PyTorch.
        ConfigError: the folder of fonts has none that is usable; or novelty or stress is asked for, and the run's
            classes aren't the digits.
    """
    classes = checkpoint.identity.classes
    if (novelty or stress) and classes != DIGITS:
        raise ConfigError(f"novelty and stress draw digits, and the run has other classes: {', '.join(classes)}")
    mlp, calibration, output = checkpoint.kept_mlp(), checkpoint.calibration(), checkpoint.config.output
    logits = calculate_logits(mlp, torch.tensor(examples.pixels))  # (N, C)
    probabilities, scores = probabilities_of(mlp, logits), novelty_of(logits).numpy()
    threshold = calibration.novelty_threshold
    return Report(
        checkpoint.identity.name,
        dataset,
        calibration.temperature,
        Evaluation.of(logits.argmax(dim=1).numpy(), examples.labels, classes),
        expected_calibration_error(probabilities, examples.labels),
        reliability(probabilities, examples.labels),
        find_mistakes(examples, logits, probabilities, output, MISTAKES, classes),
        measure_novelty(mlp, threshold, scores, novelty, progress=progress) if novelty else None,
        _measure_stress(checkpoint, stress, progress) if stress else None,
    )


def _measure_stress(checkpoint: Checkpoint, plan: StressPlan, progress: bool) -> Stress:
    """On the artifact, as it would be served: the run folder may have none, or had it taken away."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "model.onnx")
        export_checkpoint(checkpoint, model, test_accuracy=None)
        names, count, seed = tuple(CONDITIONS), plan.count, plan.seed
        return Stress(seed, measure_stress(model, plan.images, plan.labels, names, count, seed, progress=progress))
