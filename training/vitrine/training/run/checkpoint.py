"""The saved state of a training run: enough to resume it bit for bit, and to evaluate and export its network.

A checkpoint holds tensors and plain data only. `checksummed` reads it without executing any code from the file.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self, TypeAlias

import torch
from torch import Tensor

from vitrine.model import DIGITS, PIXELS_SHAPE, Shape
from vitrine.training.errors import CheckpointError
from vitrine.training.files.checksummed import read_checksummed, write_checksummed
from vitrine.training.network.calibration import Calibration, calibrate
from vitrine.training.network.learner import Learner
from vitrine.training.network.mlp import MLP
from vitrine.training.run.config import FitConfig

FORMAT_VERSION = 9
"""Version of the file's layout."""

READABLE_VERSIONS = (6, 7, 8, 9)
"""Versions that can be read; others are refused. Version 6 has digits on 18 × 18 pixels only, 7 neither drawings nor
forms, and 8 no origin."""

Weights: TypeAlias = Mapping[str, Tensor]
"""Parameters and buffers of a network by name, on the CPU."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """Results of one pass over the training examples."""

    number: int
    """The epoch's number, from 1."""
    training_loss: float
    """Mean loss over the epoch's steps, on augmented images, while the parameters were changing."""
    validation_loss: float
    """Mean loss on the validation part, after the epoch."""
    validation_error: float
    """Share of misclassified validation examples after the epoch, 0 to 1."""
    seconds: float
    """Duration of the epoch, in seconds."""
    device: str
    """Device that computed it: `cpu` or `cuda`."""


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """The model and the data of a run. Resuming requires the same data and shape."""

    name: str
    """Name of the model on the server."""
    dataset: str
    """Name of the data set."""
    source: str
    """Argument of `load_dataset` that finds the data set; empty for a data set built by a program."""
    digest: str
    """Digest of the data set."""
    classes: tuple[str, ...] = DIGITS
    """Label of each class."""
    shape: Shape = PIXELS_SHAPE
    """Height and width of the pixels."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The network that a fine-tuned run started from."""

    name: str
    """Name of the model on the server."""
    dataset: str
    """Name of the data set that it was trained on."""
    sha256: str
    """SHA-256 of its file, an artifact or a checkpoint, in hex."""
    test_error: float
    """Share of the run's test examples that it misclassified before the first step, 0 to 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """State of a run after some of its epochs."""

    identity: RunIdentity
    """The model's name and its data set."""
    config: FitConfig
    """Settings of the run."""
    history: tuple[Epoch, ...]
    """Results of all finished epochs, in order."""
    weights: Weights
    """Parameters and buffers of the learner after the last epoch."""
    optimizer: Mapping[str, Any]
    """State of the optimizer after the last epoch."""
    kept_weights: Weights
    """Parameters of the MLP after the kept epoch; empty before the first epoch."""
    validation_logits: Tensor
    """float32 (V, C): logits of the kept network on the validation part; V is 0 before the first epoch."""
    validation_labels: Tensor
    """int64 (V,): labels of the validation part."""
    samples: Tensor
    """uint8 (S, H, W): held-out examples for the export check and for the activation statistics."""
    teacher: str = ""
    """SHA-256 of the teacher's file, in hex; empty for a run that learns from labels only."""
    origin: Origin | None = None
    """The network that the run started from; None for a random start."""

    @property
    def kept(self) -> Epoch:
        """The epoch whose network is kept: the last one with a teacher, otherwise the one with the fewest errors.

        A network that learns from labels can overfit, and the validation error shows it. A student keeps approaching
        its teacher, so differences in its validation error between epochs are mostly chance.
        """
        return self.history[-1] if self.teacher else self._fewest_errors

    @property
    def _fewest_errors(self) -> Epoch:
        """The epoch with the fewest validation errors; the lower validation loss decides between equals."""
        return min(self.history, key=lambda epoch: (epoch.validation_error, epoch.validation_loss))

    @property
    def finished(self) -> bool:
        """True if all epochs are done or patience has run out."""
        if not self.history:
            return False
        done, patience = len(self.history), self.config.patience
        return done >= self.config.epochs or (patience is not None and done - self._fewest_errors.number >= patience)

    def learner(self) -> Learner:
        """The network in training, as it was after the last epoch, on the CPU."""
        identity, unused = self.identity, torch.Generator()
        classes = len(identity.classes)
        learner = Learner(self.config.hidden, self.config.output, unused, classes, identity.shape)
        learner.load_state_dict(dict(self.weights))
        return learner

    def calibration(self) -> Calibration:
        """Calibration of the kept network on the validation part; requires one finished epoch."""
        return calibrate(self.validation_logits.numpy(), self.validation_labels.numpy(), self.config.output)

    def kept_mlp(self) -> MLP:
        """The kept network with its logits divided by the temperature, on the CPU.

        This is the network that is evaluated, exported and served.
        """
        mlp = self.untempered_mlp()
        mlp.divide_logits(self.calibration().temperature)
        return mlp

    def untempered_mlp(self) -> MLP:
        """The kept network without a temperature, on the CPU."""
        unused = torch.Generator()  # initial parameters are overwritten; this leaves the global generator untouched
        classes, shape = len(self.identity.classes), self.identity.shape
        mlp = MLP(self.config.hidden, self.config.output, classes, unused, shape)
        mlp.load_state_dict(dict(self.kept_weights))
        return mlp

    def save(self, path: Path) -> None:
        """Writes the checkpoint atomically: an earlier file stays intact until the new one is complete."""
        document = {field.name: getattr(self, field.name) for field in fields(self)} | {
            "format_version": FORMAT_VERSION,
            "identity": asdict(self.identity),
            "config": self.config.to_dict(),
            "history": [asdict(epoch) for epoch in self.history],
            "origin": self.origin and asdict(self.origin),
        }
        write_checksummed(path, document)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a checkpoint.

        Raises:
            CheckpointError: the file is missing, damaged, of another version, or holds more than tensors and plain
                data.
        """
        document = read_checksummed(path)
        if document.pop("format_version", None) not in READABLE_VERSIONS:
            raise CheckpointError(
                f"{path} is not a checkpoint of this version of Vitrine: fit again without --resume (keep teacher.pt)"
            )
        try:
            return cls(
                **document
                | {
                    "identity": RunIdentity(**document["identity"]),
                    "config": FitConfig.from_dict(document["config"]),
                    "history": tuple(Epoch(**epoch) for epoch in document["history"]),
                    "origin": Origin(**origin) if (origin := document.get("origin")) else None,
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged: {error!r}") from error
