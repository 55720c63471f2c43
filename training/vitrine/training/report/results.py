"""What a network calculates for examples: everything that the parts of a report count."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitrine.model import OutputKind
from vitrine.training.data import Examples
from vitrine.training.network.evaluate import calculate_logits, probabilities_of
from vitrine.training.network.losses import losses_of
from vitrine.training.network.mlp import MLP, novelty_of


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """Results for N examples and C classes."""

    taken_for: npt.NDArray[np.int64]
    """int64 (N,): the position of the class that each example was taken for."""
    probabilities: npt.NDArray[np.float32]
    """float32 (N, C): the output layer's activations."""
    losses: npt.NDArray[np.float32]
    """float32 (N,): the loss of each example."""
    novelty: npt.NDArray[np.float32]
    """float32 (N,): the novelty of each example."""

    @classmethod
    def of(cls, mlp: MLP, output: OutputKind, examples: Examples) -> Self:
        """Classifies examples with `mlp`, on the CPU."""
        logits = calculate_logits(mlp, torch.tensor(examples.pixels))  # (N, C)
        return cls.of_logits(logits, probabilities_of(mlp, logits), output, examples.labels)

    @classmethod
    def of_logits(
        cls, logits: Tensor, probabilities: npt.NDArray[np.float32], output: OutputKind, labels: npt.NDArray[np.int64]
    ) -> Self:
        """The results of logits and probabilities, float32 (N, C) each."""
        losses = losses_of(output, logits, torch.tensor(labels)).numpy()
        return cls(logits.argmax(dim=1).numpy(), probabilities, losses, novelty_of(logits).numpy())

    def __getitem__(self, chosen: npt.NDArray[np.int64]) -> Self:
        return type(self)(self.taken_for[chosen], self.probabilities[chosen], self.losses[chosen], self.novelty[chosen])
