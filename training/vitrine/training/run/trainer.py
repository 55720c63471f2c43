"""The moving parts of a fit: the network, its optimizer and the lessons.

It knows one epoch; which epochs there are, and where their results go, `fit` knows.
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
from vitrine.training.examples.lessons import JudgedLessons, Lesson, Lessons
from vitrine.training.network.evaluate import calculate_logits
from vitrine.training.network.losses import distillation_loss, loss_of, with_no_digit
from vitrine.training.network.mlp import MLP
from vitrine.training.network.precision import mixed_precision
from vitrine.training.network.schedule import learning_rate_at
from vitrine.training.run.checkpoint import Checkpoint, Epoch, Weights
from vitrine.training.run.config import find_device


class Trainer:
    """Runs epochs.

    Args:
        checkpoint: where it begins.
        lessons: what is learnt from.
        held_out: the examples that every epoch is validated with.
    """

    def __init__(self, checkpoint: Checkpoint, lessons: Lessons | JudgedLessons, held_out: Examples) -> None:
        self._config = config = checkpoint.config
        self._device = find_device(config.device)
        self._lessons = lessons
        self._validation = (torch.tensor(held_out.pixels, device=self._device), torch.tensor(held_out.labels))
        self._learner = checkpoint.learner().to(self._device)
        self._optimizer = torch.optim.AdamW(self._learner.parameters(), weight_decay=config.weight_decay, fused=True)
        if checkpoint.optimizer:
            self._optimizer.load_state_dict(copy.deepcopy(dict(checkpoint.optimizer)))

    @property
    def examples(self) -> int:
        """Examples that each epoch goes through."""
        return len(self._lessons)

    @property
    def steps(self) -> int:
        """Steps for each epoch."""
        return math.ceil(self.examples / self._config.batch_size)

    def run_epoch(self, checkpoint: Checkpoint, bar: "tqdm[Any]") -> Checkpoint:
        """One pass over the examples; gives the checkpoint after it.

        Raises:
            TrainingError: the loss is no number any more.
        """
        number, began = len(checkpoint.history) + 1, time.monotonic()
        training_loss = self._pass(number, bar)
        if not math.isfinite(training_loss):
            raise TrainingError(f"the loss is {training_loss} after epoch {number}: lower the learning rate")
        mlp = self._learner.folded().to(self._device)
        loss, error, logits = self._validate(mlp)
        bar.set_postfix_str(f"epoch {number}/{self._config.epochs}, validation error {error:.2%}")
        epoch = Epoch(number, training_loss, loss, error, time.monotonic() - began, self._device.type)
        return self._after(checkpoint, epoch, mlp, logits)

    def _pass(self, number: int, bar: "tqdm[Any]") -> float:
        """Steps through all examples; the mean training loss."""
        losses = []
        for position, lesson in enumerate(self._lessons.epoch(number, self._config.batch_size)):
            step = (number - 1) * self.steps + position
            self._set_learning_rate(step)
            losses.append(self._step(lesson))
            bar.update()
        return float(torch.stack(losses).mean())

    def _step(self, lesson: Lesson) -> Tensor:
        with mixed_precision(self._device):
            loss = self._loss(self._learner(lesson.pixels), lesson)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return loss.detach()

    def _loss(self, logits: Tensor, lesson: Lesson) -> Tensor:
        if self._config.counter_examples and self._config.output == "softmax":
            logits = with_no_digit(logits)
        if lesson.judgement is None:
            return loss_of(self._config.output, logits, lesson.labels)
        return distillation_loss(logits, lesson.judgement)

    def _set_learning_rate(self, step: int) -> None:
        rate = learning_rate_at(step, self._config.epochs * self.steps, self._config.learning_rate)
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    def _validate(self, mlp: MLP) -> tuple[float, float, Tensor]:
        """The loss, the error and the logits, float32 (V, C), on the validation part."""
        pixels, labels = self._validation
        logits = calculate_logits(mlp, pixels).cpu()
        wrong = (logits.argmax(dim=1) != labels).to(torch.float64).mean()
        return float(loss_of(self._config.output, logits, labels)), float(wrong), logits

    def _after(self, checkpoint: Checkpoint, epoch: Epoch, mlp: MLP, logits: Tensor) -> Checkpoint:
        after = replace(
            checkpoint,
            history=(*checkpoint.history, epoch),
            weights=_copied(self._learner.state_dict()),
            optimizer=copy.deepcopy(self._optimizer.state_dict()),  # the next epoch changes it in place
        )
        if after.kept != epoch:
            return after
        kept = _copied(mlp.state_dict())
        return replace(after, kept_weights=kept, validation_logits=logits, validation_labels=self._validation[1])


def _copied(weights: Weights) -> Mapping[str, Tensor]:
    return {name: values.detach().to("cpu", copy=True) for name, values in weights.items()}
