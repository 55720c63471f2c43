"""Measures everything in a report. It prints nothing and writes no report files."""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrine.model import DIGITS
from vitrine.training.data import Examples
from vitrine.training.errors import ConfigError
from vitrine.training.network.calibration import Reliability, expected_calibration_error, reliability
from vitrine.training.network.evaluate import Evaluation
from vitrine.training.rendering.stress import (
    CONDITIONS,
    EVERY_CONDITION,
    FORM_CONDITIONS,
    ConditionResult,
    measure_stress,
)
from vitrine.training.report.handwriting import FormsPlan, GroupResult, measure_forms, measure_sources
from vitrine.training.report.mistakes import Mistake, find_mistakes, find_refused
from vitrine.training.report.novelty import NoveltyPlan, NoveltyReport, measure_novelty
from vitrine.training.report.results import Results
from vitrine.training.report.subject import Subject
from vitrine.training.run.checkpoint import Checkpoint

MAX_MISTAKES = 60
"""Maximum number of mistakes in a report, and of refused examples."""


@dataclass(frozen=True, slots=True, eq=False)
class StressPlan:
    """Input of the stress measurement."""

    images: npt.NDArray[np.uint8]
    """uint8 (N, 28, 28), 0 = paper, 255 = ink: MNIST digits that the run was not trained on."""
    labels: npt.NDArray[np.int64]
    """int64 (N,)."""
    count: int = 300
    """Digits per condition."""
    seed: int = 0
    """Seed of all random numbers."""


@dataclass(frozen=True, slots=True)
class StressReport:
    """A network's accuracy on digits rendered as photos, scans and drawings."""

    seed: int
    """Seed of all random numbers."""
    results: Sequence[ConditionResult]
    """Results of all conditions, forms included."""

    @property
    def mean(self) -> float:
        """Mean accuracy over the conditions but forms, 0 to 1."""
        return fmean(result.accuracy for result in self.results if result.condition in CONDITIONS)

    @property
    def forms_mean(self) -> float:
        """Mean accuracy over the forms, 0 to 1."""
        return fmean(result.accuracy for result in self.results if result.condition in FORM_CONDITIONS)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "seed": self.seed,
            "mean": self.mean,
            "forms_mean": self.forms_mean,
            "conditions": [result.to_dict() for result in self.results],
        }


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Quality of a run's network on examples that it was not trained on."""

    model: str
    """Name of the model on the server."""
    dataset: str
    """Name of the examples' data set."""
    temperature: float
    """Divisor of the network's logits."""
    evaluation: Evaluation
    """Error and confusion matrix."""
    calibration_error: float
    """Expected calibration error, 0 to 1."""
    reliability: Reliability
    """Confidence and accuracy by bins of confidence."""
    most_wrong: Sequence[Mistake]
    """Examples with the highest loss, worst first; at most `MAX_MISTAKES`, each with a loss of `MIN_LOSS` or more."""
    novelty: NoveltyReport | None
    """Results on images without a digit; None if not measured."""
    stress: StressReport | None
    """Results on the stress set; None if not measured."""
    sources: Sequence[GroupResult] = ()
    """Results by source; none for examples of a single source."""
    forms: Sequence[GroupResult] = ()
    """Results by form of digit; none if not measured."""
    refused: int = 0
    """Number of examples above the novelty threshold; 0 for a model without one."""
    most_novel: Sequence[Mistake] = ()
    """The refused examples, the most novel first; at most `MAX_MISTAKES`."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, with all numbers of the report."""
        return {
            "model": self.model,
            "dataset": self.dataset,
            **self.evaluation.to_dict(),
            "calibration": {
                "temperature": self.temperature,
                "expected_calibration_error": self.calibration_error,
                "bins": _bins(self.reliability),
            },
            "sources": [source.to_dict() for source in self.sources],
            "forms": [form.to_dict() for form in self.forms],
            "novelty": self.novelty and self.novelty.to_dict(),
            "stress": self.stress and self.stress.to_dict(),
            "most_wrong": [mistake.to_dict() for mistake in self.most_wrong],
            "refused": {"count": self.refused, "examples": [each.to_dict() for each in self.most_novel]},
        }


def _bins(curve: Reliability) -> list[dict[str, Any]]:
    means = zip(curve.counts.tolist(), curve.confidence.tolist(), curve.accuracy.tolist(), strict=True)
    return [
        {"count": count, "confidence": confidence if count else None, "accuracy": accuracy if count else None}
        for count, confidence, accuracy in means
    ]


def make_report(
    subject: Checkpoint | Subject,
    examples: Examples,
    dataset: str,
    *,
    novelty: NoveltyPlan | None = None,
    stress: StressPlan | None = None,
    forms: FormsPlan | None = None,
    progress: bool = True,
) -> Report:
    """Measures the kept network of a run, or that of an artifact.

    Args:
        subject: the network; of a run, its state with at least one epoch.
        examples: at least one example; none may be from the training data.
        dataset: name of the examples' data set.
        novelty: settings of the novelty measurement, for digits only; None skips it.
        stress: input of the stress measurement, for digits only; None skips it.
        forms: settings of the measurement by form, for digits only; None skips it.
        progress: True shows progress bars for slow parts.

    Raises:
        ArtifactError: the artifact for the stress measurement deviates from PyTorch.
        ConfigError: the folder of fonts has no usable font, or a run of other classes asks for what is for digits only.
    """
    about = Subject.of_checkpoint(subject) if isinstance(subject, Checkpoint) else subject
    mlp, classes, output = about.mlp, about.classes, about.output
    if (novelty or stress or forms) and classes != DIGITS:
        raise ConfigError(
            "novelty, stress and forms need a model of the ten digits, but the run has the classes "
            f"{', '.join(classes)}"
        )
    if novelty and about.novelty_threshold is None:
        raise ConfigError(f"{about.name} has no novelty threshold: leave --novelty and --full out")
    results = Results.of(mlp, output, examples)
    threshold = math.inf if about.novelty_threshold is None else about.novelty_threshold  # without one, all pass
    return Report(
        about.name,
        dataset,
        about.temperature,
        Evaluation.of(results.taken_for, examples.labels, classes),
        expected_calibration_error(results.probabilities, examples.labels),
        reliability(results.probabilities, examples.labels),
        find_mistakes(examples, results, MAX_MISTAKES, classes),
        measure_novelty(mlp, threshold, results.novelty, novelty, progress=progress) if novelty else None,
        _measure_stress(about, stress, progress) if stress else None,
        measure_sources(examples, results, threshold, classes),
        measure_forms(mlp, threshold, output, forms, progress=progress) if forms else (),
        int((results.novelty > threshold).sum()),
        find_refused(examples, results, threshold, MAX_MISTAKES, classes),
    )


def _measure_stress(about: Subject, plan: StressPlan, progress: bool) -> StressReport:
    """Measures a newly exported artifact, because the run folder may have none."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "model.onnx")
        about.export(model)
        count, seed = plan.count, plan.seed
        results = measure_stress(model, plan.images, plan.labels, EVERY_CONDITION, count, seed, progress=progress)
        return StressReport(seed, results)
