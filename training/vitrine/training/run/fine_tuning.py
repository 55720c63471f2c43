"""Fine-tuning: the stored parameters that a run starts from, those of another run or of any artifact.

It checks that they fit the data to learn from, and knows no training step.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from vitrine.model import OutputKind
from vitrine.training.data import Dataset
from vitrine.training.errors import CheckpointError, ConfigError, DataError
from vitrine.training.files.run_folder import RunFolder
from vitrine.training.network.artifact_network import hidden_of, output_of, read_network, temperature_of
from vitrine.training.network.evaluate import evaluate
from vitrine.training.network.mlp import MLP
from vitrine.training.run.checkpoint import Checkpoint, Origin
from vitrine.training.run.config import FitConfig

RATE = 0.1
"""Learning rate of fine-tuning as a share of the recipe's: larger steps would undo what the network has learnt."""


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A network to start from."""

    name: str
    """Name of the model on the server."""
    dataset: str
    """Name of the data set that it was trained on."""
    sha256: str
    """SHA-256 of its file, in hex."""
    classes: tuple[str, ...]
    """Label of each class."""
    hidden: tuple[int, ...]
    """Width of each hidden layer."""
    output: OutputKind
    """Function of the output layer."""
    mlp: MLP
    """The network without a temperature, on the CPU."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads the folder of a run, or the file of an artifact.

        Raises:
            CheckpointError: the folder has no readable checkpoint with a finished epoch.
            ArtifactError: the file can't be read, or is no network that this package exported.
        """
        return cls._of_run(path) if path.is_dir() else cls._of_artifact(path)

    @classmethod
    def _of_run(cls, path: Path) -> Self:
        file = RunFolder(path).checkpoint
        checkpoint = Checkpoint.load(file)
        if not checkpoint.history:
            raise CheckpointError(f"{path} has no finished epoch to start from: continue it first with --resume")
        identity, config = checkpoint.identity, checkpoint.config
        about = (identity.name, identity.dataset, _sha256(file), identity.classes)
        return cls(*about, config.hidden, config.output, checkpoint.untempered_mlp())

    @classmethod
    def _of_artifact(cls, path: Path) -> Self:
        mlp, metadata = read_network(path)
        mlp.divide_logits(1 / temperature_of(metadata))  # a fit finds a temperature of its own
        about = (metadata.name, metadata.training.dataset, _sha256(path), metadata.task.classes)
        return cls(*about, hidden_of(metadata), output_of(metadata), mlp)

    def settings(self, base: FitConfig) -> FitConfig:
        """The settings of a recipe for this network: its layers, and a tenth of the learning rate."""
        rate = RATE * base.learning_rate
        return replace(base, hidden=self.hidden, output=self.output, learning_rate=rate)

    def fitted_to(self, dataset: Dataset) -> Dataset:
        """The data set with this network's order of classes.

        Raises:
            DataError: it has other classes, or pixels of another size.
        """
        if dataset.shape != self.mlp.shape:
            ours, theirs = ("x".join(map(str, shape)) for shape in (self.mlp.shape, dataset.shape))
            raise DataError(f"{self.name} has pixels of {ours}, and {dataset.name} of {theirs}: use --size {ours}")
        if missing := [label for label in self.classes if label not in dataset.classes]:
            raise DataError(
                f"{self.name} has the class {missing[0]!r}, and {dataset.name} has no images of it: "
                "fine-tuning needs images of every class, or the network forgets the others"
            )
        return dataset.with_classes(self.classes)

    def check(self, config: FitConfig) -> None:
        """Checks that settings have the layers of this network.

        Raises:
            ConfigError: they haven't.
        """
        for name, ours, theirs in (
            ("hidden", ",".join(map(str, self.hidden)), ",".join(map(str, config.hidden))),
            ("output", self.output, config.output),
        ):
            if ours != theirs:
                raise ConfigError(f"{self.name} has {name} {ours}, not {theirs}: leave --{name} out to start from it")

    def origin(self, dataset: Dataset) -> Origin:
        """The record of this start, with the error before the first step on the data set's test part."""
        before = evaluate(self.mlp, dataset.test, dataset.classes)
        return Origin(self.name, self.dataset, self.sha256, before.error)


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
