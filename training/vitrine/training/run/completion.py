"""Completes a run folder: writes artifact, metrics, pictures and model card from the checkpoint.

It contains no training code, so an interrupted run is completed in the same way as a finished one.
"""

import json
import logging
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vitrine.model import ArtifactMetadata, TrainingFacts
from vitrine.model.distribution import DISTRIBUTION
from vitrine.model.drawing import load_matplotlib
from vitrine.training.data import Dataset
from vitrine.training.errors import CheckpointError
from vitrine.training.files.atomic import write_text
from vitrine.training.files.run_folder import RunFolder
from vitrine.training.network.evaluate import Evaluation, classify, evaluate_by_source
from vitrine.training.network.export import export
from vitrine.training.run.checkpoint import Checkpoint
from vitrine.training.run.model_card import model_card

FRAMEWORKS = (DISTRIBUTION, "torch", "numpy", "pillow", "onnx")
"""Distributions whose versions are recorded in the artifact, because they influence its numbers."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A training run with a complete run folder."""

    folder: RunFolder
    """The folder with its files."""
    checkpoint: Checkpoint
    """Its state: settings, history and weights."""
    evaluation: Evaluation
    """Evaluation of the kept network on the held-out examples."""

    @property
    def finished(self) -> bool:
        """False if the run was interrupted with Ctrl-C."""
        return self.checkpoint.finished


def complete(folder: RunFolder, checkpoint: Checkpoint, dataset: Dataset) -> Run:
    """Writes every file of a run folder except the checkpoint, which must exist.

    Raises:
        ArtifactError: the artifact deviates from PyTorch.
    """
    test, classes = dataset.test, dataset.classes
    taken_for = classify(checkpoint.kept_mlp(), test)
    evaluation = Evaluation.of(taken_for, test.labels, classes)
    export_checkpoint(checkpoint, folder.model, evaluation.accuracy)
    by_source = evaluate_by_source(taken_for, test, classes)
    metrics = _metrics(checkpoint, dataset, evaluation)
    write_text(folder.metrics, json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    _draw(folder, checkpoint, evaluation)
    write_text(folder.model_card, model_card(folder, checkpoint, evaluation, by_source))
    return Run(folder, checkpoint, evaluation)


def export_run(run_folder: Path, out: Path | None = None) -> Path:
    """Exports the kept network of a run, even of a run that was killed before it was completed.

    Args:
        run_folder: folder of the run.
        out: file to write; None writes `model.onnx` in the run folder.

    Returns:
        The path of the written file.

    Raises:
        CheckpointError: the folder has no readable checkpoint, or its metrics file is damaged.
        ArtifactError: the artifact deviates from PyTorch.
    """
    folder = RunFolder(run_folder)
    out = out or folder.model
    export_checkpoint(Checkpoint.load(folder.checkpoint), out, _test_accuracy(folder.metrics))
    return out


def export_checkpoint(checkpoint: Checkpoint, path: Path, test_accuracy: float | None) -> ArtifactMetadata:
    """Exports the kept network of a checkpoint; see `export`."""
    calibration = checkpoint.calibration()
    metrics = {
        "validation_accuracy": 1 - checkpoint.kept.validation_error,
        "temperature": calibration.temperature,
        "validation_calibration_error": calibration.error,
        "validation_calibration_error_before": calibration.error_before,
    }
    tested = {} if test_accuracy is None else {"test_accuracy": test_accuracy}
    return export(
        checkpoint.kept_mlp(),
        path,
        name=checkpoint.identity.name,
        facts=TrainingFacts(
            dataset=checkpoint.identity.dataset,
            seed=checkpoint.config.seed,
            epochs=checkpoint.kept.number,
            metrics=metrics | tested,
            versions=_versions(),
        ),
        pixels=checkpoint.samples.numpy(),
        classes=checkpoint.identity.classes,
        novelty_threshold=calibration.novelty_threshold,
    )


def _versions() -> Mapping[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in FRAMEWORKS}


def _test_accuracy(metrics: Path) -> float | None:
    try:
        return float(json.loads(metrics.read_bytes())["test"]["accuracy"])
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"{metrics} is damaged: write it again with fit --resume, or remove it") from error


def _metrics(checkpoint: Checkpoint, dataset: Dataset, evaluation: Evaluation) -> dict[str, Any]:
    return {
        "name": checkpoint.identity.name,
        "dataset": {
            "name": dataset.name,
            "training_examples": len(dataset.train),
            "test_examples": len(dataset.test),
            "sha256": checkpoint.identity.digest,
        },
        "config": checkpoint.config.to_dict(),
        "started_from": checkpoint.origin and asdict(checkpoint.origin),
        "finished": checkpoint.finished,
        "kept_epoch": checkpoint.kept.number,
        "seconds": sum(epoch.seconds for epoch in checkpoint.history),
        "history": [asdict(epoch) for epoch in checkpoint.history],
        "calibration": asdict(checkpoint.calibration()),
        "test": evaluation.to_dict(),
        "versions": dict(_versions()),
    }


def _draw(folder: RunFolder, checkpoint: Checkpoint, evaluation: Evaluation) -> None:
    """Draws the pictures. One that can't be drawn costs itself, not the run that has just been trained."""
    try:
        load_matplotlib()
        from vitrine.training.run import plots  # imported here because matplotlib takes a second to load

        plots.draw_learning_curve(checkpoint.history, checkpoint.kept, folder.learning_curve)
        plots.draw_confusion_matrix(evaluation, folder.confusion_matrix)
    except Exception as error:  # whatever the drawing library raises
        _log.warning("the pictures of %s could not be drawn: %r", folder.path, error)
