"""The network that a report is about: the one that a run keeps, or the one in any artifact."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from vitrine.model import OutputKind
from vitrine.training.network.artifact_file import data_path
from vitrine.training.network.artifact_network import output_of, read_network, temperature_of
from vitrine.training.network.mlp import MLP
from vitrine.training.run.checkpoint import Checkpoint
from vitrine.training.run.completion import export_checkpoint


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A network with what a report says about it."""

    name: str
    """Name of the model on the server."""
    classes: tuple[str, ...]
    """Label of each class."""
    dataset: str
    """Name of the data set that it was trained on."""
    mlp: MLP
    """The network, its logits divided by the temperature."""
    output: OutputKind
    """Function of the output layer."""
    temperature: float
    """Divisor of the network's logits."""
    novelty_threshold: float | None
    """Largest novelty of an image that passes for one of the classes; None: the model has none."""
    export: Callable[[Path], object]
    """Writes the artifact to a path."""

    @classmethod
    def of_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """The network that a run keeps, with at least one epoch."""
        calibration = checkpoint.calibration()
        return cls(
            checkpoint.identity.name,
            checkpoint.identity.classes,
            checkpoint.identity.dataset,
            checkpoint.kept_mlp(),
            checkpoint.config.output,
            calibration.temperature,
            calibration.novelty_threshold,
            partial(export_checkpoint, checkpoint, test_accuracy=None),
        )

    @classmethod
    def of_artifact(cls, path: Path) -> Self:
        """The network in an artifact, which must calculate the golden sample as it was exported.

        Raises:
            ArtifactError: the file can't be read, or isn't the network that its metadata describes.
        """
        mlp, metadata = read_network(path)
        return cls(
            metadata.name,
            metadata.task.classes,
            metadata.training.dataset,
            mlp,
            output_of(metadata),
            temperature_of(metadata),
            metadata.novelty_threshold,
            partial(_copy, path),
        )


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    if data_path(source).exists():
        shutil.copyfile(data_path(source), data_path(target))
