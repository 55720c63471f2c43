"""Completes a run folder: makes artifact, metrics, pictures and model card from the checkpoint.

It knows no training: a run that was interrupted is completed just as one that went to its end.
"""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vitrine.model import ArtifactMetadata, TrainingFacts
from vitrine.training.data import Dataset
from vitrine.training.errors import CheckpointError
from vitrine.training.files.atomic import write_text
from vitrine.training.files.run_folder import RunFolder
from vitrine.training.network.evaluate import Evaluation, evaluate
from vitrine.training.network.export import export
from vitrine.training.run.checkpoint import Checkpoint
from vitrine.training.run.model_card import model_card

FRAMEWORKS = ("vitrine", "torch", "numpy", "pillow", "onnx")
"""The distributions whose versions go into the artifact: what had a hand in its numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A completed run."""

    folder: RunFolder
    """Where its files are."""
    checkpoint: Checkpoint
    """What it reached: settings, history, weights."""
    evaluation: Evaluation
    """How good its weights are on the held-out examples."""

    @property
    def finished(self) -> bool:
        """Whether it went to its end; False after Ctrl-C."""
        return self.checkpoint.finished


def complete(folder: RunFolder, checkpoint: Checkpoint, dataset: Dataset) -> Run:
    """Makes everything of a run folder but the checkpoint, which is there.

    Raises:
        ArtifactError: the artifact deviates from PyTorch.
    """
    evaluation = evaluate(checkpoint.kept_mlp(), dataset.test, dataset.classes)
    export_checkpoint(checkpoint, folder.model, evaluation.accuracy)
    metrics = _metrics(checkpoint, dataset, evaluation)
    write_text(folder.metrics, json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    _draw(folder, checkpoint, evaluation)
    write_text(folder.model_card, model_card(folder, checkpoint, evaluation))
    return Run(folder, checkpoint, evaluation)


def export_run(run_folder: Path, out: Path | None = None) -> Path:
    """Exports the weights of a run, also of one that was killed and so never completed.

    Args:
        run_folder: where the run is.
        out: the file to write; None writes the run folder's `model.onnx`.

    Returns:
        The file that was written.

    Raises:
        CheckpointError: the folder has no readable checkpoint, or its metrics are damaged.
        ArtifactError: the artifact deviates from PyTorch.
    """
    folder = RunFolder(run_folder)
    out = out or folder.model
    export_checkpoint(Checkpoint.load(folder.checkpoint), out, _test_accuracy(folder.metrics))
    return out


def export_checkpoint(checkpoint: Checkpoint, path: Path, test_accuracy: float | None) -> ArtifactMetadata:
    """Exports what a checkpoint keeps; see `export`."""
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
        raise CheckpointError(f"{metrics} is damaged: make it anew by fit --resume, or remove it") from error


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
        "finished": checkpoint.finished,
        "kept_epoch": checkpoint.kept.number,
        "seconds": sum(epoch.seconds for epoch in checkpoint.history),
        "history": [asdict(epoch) for epoch in checkpoint.history],
        "calibration": asdict(checkpoint.calibration()),
        "test": evaluation.to_dict(),
        "versions": dict(_versions()),
    }


def _draw(folder: RunFolder, checkpoint: Checkpoint, evaluation: Evaluation) -> None:
    from vitrine.training.run import figures  # here, because matplotlib takes a second and only this needs it

    figures.draw_learning_curve(checkpoint.history, checkpoint.kept, folder.learning_curve)
    figures.draw_confusion_matrix(evaluation, folder.confusion_matrix)
