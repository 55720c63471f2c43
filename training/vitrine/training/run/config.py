"""The settings of a training run and their ranges. It knows no examples and no network."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, TypeAlias, get_args

import torch

from vitrine.model import OutputKind
from vitrine.training.data import DRAWINGS
from vitrine.training.errors import ConfigError

DeviceChoice: TypeAlias = Literal["auto", "cpu", "cuda"]
"""The device to train on: `auto` takes CUDA where there is one."""


@dataclass(frozen=True, slots=True)
class FitConfig:
    """Everything that decides the result of a fit, but the data.

    Raises:
        ConfigError: a setting is out of its range; the text names it.
    """

    hidden: tuple[int, ...] = (256, 128)
    """The width of each hidden layer, each at least 1; at least one."""
    output: OutputKind = "softmax"
    """The output layer's function; it brings its loss: cross-entropy, or binary cross-entropy for `sigmoid`."""
    epochs: int = 40
    """Passes over the training examples, at least 1."""
    batch_size: int = 64
    """Examples for each step, at least 1; hidden layers are only normalised in batches of 8 and more."""
    learning_rate: float = 2e-3
    """AdamW's learning rate at its peak, above 0; see `schedule`."""
    weight_decay: float = 1e-2
    """AdamW's weight decay, 0 or more."""
    seed: int = 0
    """Seed of the random start, the validation part, the order and the augmentation; 0 or more."""
    device: DeviceChoice = "auto"
    """The device to train on."""
    threads: int = 1
    """CPU threads, at least 1. For these small networks a second one gains little on an idle machine, and costs much on
    a busy one, where each step waits for the slower of the two."""
    validation: float = 0.1
    """Share of the training examples that calibrate the network and, without a teacher, choose the epoch; above 0, at
    most 0.5."""
    patience: int | None = None
    """Epochs without fewer validation errors after which the fit stops early, at least 1; None goes to the end."""
    augment: float = 1.0
    """Strength of the bends of training images, 0 (off) to 3; `augmentation` has the lengths of strength 1."""
    drawings: int = 1
    """Drawings to learn from of each digit whose pen trajectory is known, each with another pen, 1 to `DRAWINGS`."""
    forms: int = 0
    """Written forms of digits to learn from, 0 or more: made by `forms`, where data have too few of them."""
    counter_examples: int = 0
    """Made images without a digit to learn from, 0 or more, so that novelty can tell them; for digits with a quarter as
    many printed digits."""
    teacher_epochs: int = 0
    """Epochs of the convolutional networks that are trained first as teachers; 0: no teacher. Only for softmax."""
    versions: int = 20
    """Differently bent versions of all examples that a teacher classifies, at least 1; the epochs take turns."""

    def __post_init__(self) -> None:
        for allowed, requirement in (
            (self.hidden and min(self.hidden) >= 1, f"hidden is one width or more, each at least 1, not {self.hidden}"),
            (self.output in get_args(OutputKind), f"output is softmax or sigmoid, not {self.output}"),
            (self.epochs >= 1, f"epochs is at least 1, not {self.epochs}"),
            (self.batch_size >= 1, f"batch_size is at least 1, not {self.batch_size}"),
            (0 < self.learning_rate < float("inf"), f"learning_rate is above 0, not {self.learning_rate}"),
            (0 <= self.weight_decay < float("inf"), f"weight_decay is 0 or more, not {self.weight_decay}"),
            (self.seed >= 0, f"seed is 0 or more, not {self.seed}"),
            (self.device in get_args(DeviceChoice), f"device is auto, cpu or cuda, not {self.device}"),
            (self.threads >= 1, f"threads is at least 1, not {self.threads}"),
            (0 < self.validation <= 0.5, f"validation is above 0 and at most 0.5, not {self.validation}"),
            (self.patience is None or self.patience >= 1, f"patience is at least 1, not {self.patience}"),
            (0 <= self.augment <= 3, f"augment is 0 to 3, not {self.augment}"),
            (1 <= self.drawings <= DRAWINGS, f"drawings is 1 to {DRAWINGS}, not {self.drawings}"),
            (self.forms >= 0, f"forms is 0 or more, not {self.forms}"),
            (self.counter_examples >= 0, f"counter_examples is 0 or more, not {self.counter_examples}"),
            (self.teacher_epochs >= 0, f"teacher_epochs is 0 or more, not {self.teacher_epochs}"),
            (self.versions >= 1, f"versions is at least 1, not {self.versions}"),
            (
                not self.teacher_epochs or self.output == "softmax",
                "teacher_epochs is 0 for a sigmoid",
            ),
        ):
            if not allowed:
                raise ConfigError(requirement)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for a checkpoint or JSON."""
        return asdict(self) | {"hidden": list(self.hidden)}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """Back from plain data."""
        return cls(**{**settings, "hidden": tuple(settings["hidden"])})


def find_device(choice: DeviceChoice) -> torch.device:
    """The device that a choice means on this machine.

    Raises:
        ConfigError: `cuda` was asked for, and there is none.
    """
    available = torch.cuda.is_available()
    if choice == "cuda" and not available:
        raise ConfigError(
            f"device cuda was asked for, and PyTorch {torch.__version__} finds no CUDA device: install a PyTorch "
            "for CUDA and its driver, or choose auto or cpu"
        )
    return torch.device("cuda" if available and choice != "cpu" else "cpu")
