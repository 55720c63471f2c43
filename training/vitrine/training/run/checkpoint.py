"""What a training run has reached, as a file: enough to go on with bit for bit, and to evaluate and export.

It holds tensors and plain data only; `sealed` reads it, executing nothing.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self, TypeAlias

import torch
from torch import Tensor

from vitrine.model import DIGITS, PIXELS_SHAPE, Shape
from vitrine.training.errors import CheckpointError
from vitrine.training.files.checksummed import read_sealed, write_sealed
from vitrine.training.network.calibration import Calibration, calibrate
from vitrine.training.network.learner import Learner
from vitrine.training.network.mlp import MLP
from vitrine.training.run.config import FitConfig

FORMAT_VERSION = 7
"""The version of this layout."""

READABLE_VERSIONS = (6, 7)
"""The versions that are read. Version 6 knew digits on 18 × 18 pixels only."""

Weights: TypeAlias = Mapping[str, Tensor]
"""What a network stores, by name, on the CPU."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass over the training examples gave."""

    number: int
    """The first is 1."""
    training_loss: float
    """The mean over the epoch's steps, on augmented images, while the parameters moved."""
    validation_loss: float
    """The mean over the validation part, after the epoch."""
    validation_error: float
    """The share of the validation part that is misclassified, 0 to 1."""
    seconds: float
    """How long it took."""
    device: str
    """Where it was calculated: `cpu` or `cuda`."""


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """Which run it is: what a resumed one must have in common with its beginning."""

    name: str
    """What the model is called when it is served."""
    dataset: str
    """The data set's name."""
    source: str
    """What `load_dataset` finds the data set by."""
    digest: str
    """The data set's digest."""
    classes: tuple[str, ...] = DIGITS
    """The label of every class."""
    shape: Shape = PIXELS_SHAPE
    """Height and width of the pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A run after some of its epochs."""

    identity: RunIdentity
    """Which run it is."""
    config: FitConfig
    """Its settings."""
    history: tuple[Epoch, ...]
    """Every epoch so far."""
    weights: Weights
    """The learner's parameters and statistics after the last epoch."""
    optimizer: Mapping[str, Any]
    """The optimizer's state after the last epoch."""
    kept_weights: Weights
    """The MLP's parameters after the epoch that is kept; empty before the first one."""
    validation_logits: Tensor
    """float32 (V, C): what the network that is kept gave for the validation part; none before the first epoch."""
    validation_labels: Tensor
    """int64 (V,): what the validation part shows."""
    samples: Tensor
    """uint8 (S, height, width): some held-out examples, which an export is checked with and counts activations over."""
    teacher: str = ""
    """The SHA-256 of the file of the teacher that it learns from, in hex; empty where the labels alone teach."""

    @property
    def kept(self) -> Epoch:
        """The epoch whose network is kept: the last one with a teacher, and without one that with the fewest errors.

        Labels can be learnt by heart, which shows in the validation part. A pupil only comes closer to its teacher,
        epoch by epoch, and which of its epochs errs least on some thousand images is chance.
        """
        return self.history[-1] if self.teacher else self._fewest_errors

    @property
    def _fewest_errors(self) -> Epoch:
        """The epoch with the fewest validation errors; among equals, the one with the lowest validation loss."""
        return min(self.history, key=lambda epoch: (epoch.validation_error, epoch.validation_loss))

    @property
    def finished(self) -> bool:
        """Whether every epoch is done, or patience ran out."""
        if not self.history:
            return False
        done, patience = len(self.history), self.config.patience
        return done >= self.config.epochs or (patience is not None and done - self._fewest_errors.number >= patience)

    def learner(self) -> Learner:
        """The network that learns, as it is after the last epoch, on the CPU."""
        identity, unused = self.identity, torch.Generator()
        classes = len(identity.classes)
        learner = Learner(self.config.hidden, self.config.output, unused, classes, identity.shape)
        learner.load_state_dict(dict(self.weights))
        return learner

    def calibration(self) -> Calibration:
        """What the validation part says of the network that is kept; there has been an epoch."""
        return calibrate(self.validation_logits.numpy(), self.validation_labels.numpy(), self.config.output)

    def kept_mlp(self) -> MLP:
        """The network that is kept, on the CPU, its logits divided by the temperature.

        This is the network that is evaluated, exported and served.
        """
        mlp = self.untempered_mlp()
        mlp.divide_logits(self.calibration().temperature)
        return mlp

    def untempered_mlp(self) -> MLP:
        """The network that is kept, on the CPU, as it was learnt."""
        unused = torch.Generator()  # the random start is overwritten, and the global generator isn't drawn from
        classes, shape = len(self.identity.classes), self.identity.shape
        mlp = MLP(self.config.hidden, self.config.output, classes, unused, shape)
        mlp.load_state_dict(dict(self.kept_weights))
        return mlp

    def save(self, path: Path) -> None:
        """Writes it; what was there stays until all of it is written."""
        document = {field.name: getattr(self, field.name) for field in fields(self)} | {
            "format_version": FORMAT_VERSION,
            "identity": asdict(self.identity),
            "config": self.config.to_dict(),
            "history": [asdict(epoch) for epoch in self.history],
        }
        write_sealed(path, document)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads one.

        Raises:
            CheckpointError: it is missing, damaged, of another version, or holds more than tensors and plain data.
        """
        document = read_sealed(path)
        if document.pop("format_version", None) not in READABLE_VERSIONS:
            raise CheckpointError(
                f"{path} isn't a checkpoint of this Vitrine's: fit again without --resume; a teacher.pt may stay"
            )
        try:
            return cls(
                **document
                | {
                    "identity": RunIdentity(**document["identity"]),
                    "config": FitConfig.from_dict(document["config"]),
                    "history": tuple(Epoch(**epoch) for epoch in document["history"]),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged: {error!r}") from error
