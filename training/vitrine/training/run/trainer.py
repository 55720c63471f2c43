"""Runs single epochs: holds the network, its training step and the batches.

`fit` decides on the epochs to run and stores their results.
"""

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from vitrine.training.data import Examples
from vitrine.training.errors import TrainingError
from vitrine.training.examples.batches import AugmentedBatches, CachedTeacherBatches
from vitrine.training.network.evaluate import calculate_logits
from vitrine.training.network.losses import distillation_loss, loss_of, with_no_digit
from vitrine.training.network.mlp import MLP
from vitrine.training.network.precision import mixed_precision
from vitrine.training.network.schedule import learning_rate_at
from vitrine.training.network.step import TrainingStep
from vitrine.training.run.checkpoint import Checkpoint, Epoch, Weights
from vitrine.training.run.config import find_device


class Trainer:
    """Runs epochs.

    Args:
        checkpoint: state to start from.
        batches: training data.
        held_out: validation examples, evaluated after every epoch.
    """

    def __init__(
        self, checkpoint: Checkpoint, batches: AugmentedBatches | CachedTeacherBatches, held_out: Examples
    ) -> None:
        self._config = config = checkpoint.config
        self._device = find_device(config.device)
        self._batches = batches
        self._validation = (torch.tensor(held_out.pixels, device=self._device), torch.tensor(held_out.labels))
        self._learner = checkpoint.learner().to(self._device)
        self._step = TrainingStep(self._learner.parameters(), self._loss, config.weight_decay, self._device)
        if checkpoint.optimizer:
            self._step.load_state(checkpoint.optimizer)

    @property
    def examples(self) -> int:
        """Examples per epoch."""
        return len(self._batches)

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return math.ceil(self.examples / self._config.batch_size)

    def learning_rate_after(self, epochs: int) -> float:
        """The learning rate of the last step of an epoch, by its number from 1."""
        config = self._config
        return learning_rate_at(epochs * self.steps - 1, config.epochs * self.steps, config.learning_rate)

    def run_epoch(self, checkpoint: Checkpoint, bar: "tqdm[Any]") -> Checkpoint:
        """Runs one pass over the examples, and returns the checkpoint after it.

        Raises:
            TrainingError: the loss is not finite.
        """
        number, began = len(checkpoint.history) + 1, time.monotonic()
        training_loss = self._train_epoch(number, bar)
        if not math.isfinite(training_loss):
            raise TrainingError(f"the loss is {training_loss} after epoch {number}: lower the learning rate")
        mlp = self._learner.folded().to(self._device)
        loss, error, logits = self._validate(mlp)
        bar.set_postfix_str(f"epoch {number}/{self._config.epochs}, validation error {error:.2%}")
        epoch = Epoch(number, training_loss, loss, error, time.monotonic() - began, self._device.type)
        return self._next_checkpoint(checkpoint, epoch, mlp, logits)

    def _train_epoch(self, number: int, bar: "tqdm[Any]") -> float:
        """Steps through all examples, and returns the mean training loss."""
        config, first = self._config, (number - 1) * self.steps
        losses = []
        for step, batch in enumerate(self._batches.epoch(number, config.batch_size), start=first):
            rate = learning_rate_at(step, config.epochs * self.steps, config.learning_rate)
            taught = () if batch.teacher_logits is None else (batch.teacher_logits,)
            losses.append(self._step(rate, batch.pixels, batch.labels, *taught))
            bar.update()
        return float(torch.stack(losses).mean())

    def _loss(self, pixels: Tensor, labels: Tensor, teacher_logits: Tensor | None = None) -> Tensor:
        """Distillation loss if there are a teacher's logits, else the output layer's loss on the labels."""
        with mixed_precision(self._device):
            logits = self._learner(pixels)
            if self._config.counter_examples and self._config.output == "softmax":
                logits = with_no_digit(logits)
            if teacher_logits is None:
                return loss_of(self._config.output, logits, labels)
            return distillation_loss(logits, teacher_logits)

    def _validate(self, mlp: MLP) -> tuple[float, float, Tensor]:
        """Loss, error and logits, float32 (V, C), on the validation part."""
        pixels, labels = self._validation
        logits = calculate_logits(mlp, pixels).cpu()
        wrong = (logits.argmax(dim=1) != labels).to(torch.float64).mean()
        return float(loss_of(self._config.output, logits, labels)), float(wrong), logits

    def _next_checkpoint(self, checkpoint: Checkpoint, epoch: Epoch, mlp: MLP, logits: Tensor) -> Checkpoint:
        """The checkpoint after an epoch; if the epoch is kept, also with its network."""
        following = replace(
            checkpoint,
            history=(*checkpoint.history, epoch),
            weights=_copy_to_cpu(self._learner.state_dict()),
            optimizer=copy.deepcopy(self._step.state()),  # the next epoch changes it in place
        )
        if following.kept != epoch:
            return following
        kept = _copy_to_cpu(mlp.state_dict())
        return replace(following, kept_weights=kept, validation_logits=logits, validation_labels=self._validation[1])


def _copy_to_cpu(weights: Weights) -> Mapping[str, Tensor]:
    return {name: values.detach().to("cpu", copy=True) for name, values in weights.items()}
