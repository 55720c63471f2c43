"""Fits an MLP to a data set, epoch by epoch, into a run folder.

After each epoch the checkpoint is written; when the epochs are done, or someone presses Ctrl-C, `completion` makes
everything else from it. All examples stay in memory as tensors: they are small, and slicing is faster than a loader.
"""

import copy
import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vitrine.model import DIGITS
from vitrine.training.augmentation import augment
from vitrine.training.checkpoint import Checkpoint, Epoch, RunIdentity, Weights
from vitrine.training.completion import Run, complete
from vitrine.training.config import FitConfig, find_device
from vitrine.training.data import Dataset, Examples, split
from vitrine.training.errors import CheckpointError, DataError, TrainingError
from vitrine.training.evaluate import calculate_logits, loss_of
from vitrine.training.lock import locked
from vitrine.training.mlp import MLP
from vitrine.training.randomness import Stream, torch_generator
from vitrine.training.recipes import recipe
from vitrine.training.run_folder import RunFolder
from vitrine.training.schedule import learning_rate_at

SAMPLES = 1024
"""How many held-out examples go into the checkpoint at most: what the statistics of the activations are taken over."""


def fit(
    dataset: Dataset,
    config: FitConfig | None,
    run_folder: str | os.PathLike[str],
    *,
    name: str | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Run:
    """Fits an MLP and completes a run folder: checkpoint, artifact, metrics, pictures and model card.

    On one CPU, with one version of PyTorch, the same data and settings give the same weights, bit for bit, whether
    the run was interrupted and resumed or not.

    Ctrl-C (KeyboardInterrupt) ends the fit early and keeps what was reached: the folder is completed with the best
    weights so far, and the returned run isn't `finished`. Before the first epoch's end it is raised on.

    Args:
        dataset: what to fit to.
        config: the settings; None takes the data set's recipe, or those of the run that is resumed.
        run_folder: where everything goes; a run that is there already is replaced, unless it is resumed, as soon as
            the first epoch is done.
        name: what the model is called when it is served; None takes the data set's name.
        resume: go on with the run in `run_folder`. A finished run is completed anew.
        progress: whether to show a bar.

    Returns:
        The completed run.

    Raises:
        ConfigError: the settings can't be had on this machine.
        DataError: no digit has examples enough for a validation part.
        CheckpointError: there is no run to go on with, or it has other settings or data.
        TrainingError: the loss is no number any more, or another fit is writing into the run folder.
    """
    folder = RunFolder(Path(run_folder))
    identity = RunIdentity(name or dataset.name, dataset.name, dataset.source, dataset.digest())
    with locked(folder.lock, wait=False):  # files of two runs beside each other would lie
        if resume:
            checkpoint = _resumed(Checkpoint.load(folder.checkpoint), identity, config, name)
        else:
            checkpoint = _begun(identity, config or recipe(dataset.source), dataset.test)
        trainer = _Trainer(checkpoint, dataset.train)
        with _threads(checkpoint.config.threads):
            return complete(folder, _train(checkpoint, trainer, folder, progress), dataset)


def _begun(identity: RunIdentity, config: FitConfig, held_out: Examples) -> Checkpoint:
    start = torch_generator(config.seed, Stream.START)
    weights = MLP(config.hidden, config.output, generator=start).state_dict()
    spread = np.linspace(0, len(held_out) - 1, min(SAMPLES, len(held_out))).astype(np.int64)
    samples = torch.tensor(held_out.pixels[spread])
    logits, labels = torch.empty(0, len(DIGITS)), torch.empty(0, dtype=torch.int64)  # there are none yet
    return Checkpoint(identity, config, (), weights, {}, weights, logits, labels, samples)


def _resumed(checkpoint: Checkpoint, identity: RunIdentity, config: FitConfig | None, name: str | None) -> Checkpoint:
    """The checkpoint, where it fits; a run may move to another device, and nothing else may change."""
    config = config or checkpoint.config
    identity = identity if name else replace(identity, name=checkpoint.identity.name)
    if checkpoint.identity.digest != identity.digest:
        raise CheckpointError(f"the run was begun with other data than {identity.dataset} has now: begin a new one")
    before, now = checkpoint.config.to_dict(), config.to_dict()
    changed = [key for key in now if key != "device" and now[key] != before[key]]
    if changed:
        settings = ", ".join(f"{key} {before[key]}, not {now[key]}" for key in changed)
        raise CheckpointError(f"the run was begun with {settings}: resume it so, or begin a new one")
    return replace(checkpoint, config=config, identity=identity)


def _train(checkpoint: Checkpoint, trainer: "_Trainer", folder: RunFolder, progress: bool) -> Checkpoint:
    """Runs the epochs that are left, and keeps what each reached."""
    steps = checkpoint.config.epochs * trainer.steps
    begun = len(checkpoint.history) * trainer.steps
    bar = tqdm(desc="fit", total=steps, initial=begun, unit="step", disable=not progress, dynamic_ncols=True)
    try:
        with bar, _noticing_ctrl_c() as interrupted:
            while not (checkpoint.finished or interrupted.is_set()):
                checkpoint = trainer.run_epoch(checkpoint, bar)
                _keep(checkpoint, folder)
    except KeyboardInterrupt:
        if not checkpoint.history:
            raise
    _keep(checkpoint, folder)  # the interruption may have come between an epoch's end and its writing
    return checkpoint


@contextmanager
def _noticing_ctrl_c() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, beside raising KeyboardInterrupt: Python drops one that falls into a finalizer."""
    noticed, before = threading.Event(), signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield noticed  # signals aren't this thread's, or somebody wants none
        return

    def note(number: int, frame: FrameType | None) -> None:
        noticed.set()
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield noticed
    finally:
        signal.signal(signal.SIGINT, before)


def _keep(checkpoint: Checkpoint, folder: RunFolder) -> None:
    folder.remove_results()  # a kill from here on must not leave them beside weights that they know nothing of
    checkpoint.save(folder.checkpoint)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """PyTorch with `count` CPU threads, and afterwards with as many as it had."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Trainer:
    """The moving parts: the network, its optimizer, and the examples on the device."""

    def __init__(self, checkpoint: Checkpoint, examples: Examples) -> None:
        self._config = config = checkpoint.config
        self._device = find_device(config.device)
        kept, held_out = split(examples, config.validation, config.seed)
        if len(held_out) == 0:
            raise DataError("no digit has two different training examples: there is nothing to validate with")
        self._pixels, self._labels = self._to_device(examples[kept])  # (N, 18, 18), (N,)
        originals = examples[kept].bendable
        self._ink = torch.tensor(originals.ink, device=self._device)  # (N, H, W)
        self._frames = torch.tensor(originals.frames, device=self._device)  # (N, 3)
        self._validation = self._to_device(examples[held_out])
        self._mlp = checkpoint.mlp().to(self._device)
        self._optimizer = torch.optim.AdamW(self._mlp.parameters(), weight_decay=config.weight_decay, fused=True)
        if checkpoint.optimizer:
            self._optimizer.load_state_dict(copy.deepcopy(dict(checkpoint.optimizer)))

    @property
    def steps(self) -> int:
        """Steps for each epoch."""
        return math.ceil(len(self._labels) / self._config.batch_size)

    def run_epoch(self, checkpoint: Checkpoint, bar: "tqdm[Any]") -> Checkpoint:
        """One pass over the training examples; gives the checkpoint after it."""
        number, began = len(checkpoint.history) + 1, time.monotonic()
        training_loss = self._pass(number, bar)
        if not math.isfinite(training_loss):
            raise TrainingError(f"the loss is {training_loss} after epoch {number}: lower the learning rate")
        loss, error, logits = self._validate()
        bar.set_postfix_str(f"epoch {number}/{self._config.epochs}, validation error {error:.2%}")
        epoch = Epoch(number, training_loss, loss, error, time.monotonic() - began, self._device.type)
        return self._after(checkpoint, epoch, logits)

    def _pass(self, number: int, bar: "tqdm[Any]") -> float:
        """Steps through all examples; the mean training loss."""
        losses = []
        for position, (pixels, labels) in enumerate(self._batches(number)):
            self._set_learning_rate((number - 1) * self.steps + position)
            losses.append(self._step(pixels, labels))
            bar.update()
        return float(torch.stack(losses).mean())

    def _batches(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """What one epoch learns from: pixels (B, 18, 18), each image bent in its own way, and labels (B,)."""
        generator = torch_generator(self._config.seed, Stream.EPOCH, number)
        order = torch.randperm(len(self._labels), generator=generator).to(self._device)
        for chosen in torch.split(order, self._config.batch_size):
            yield self._bent(chosen, generator), self._labels[chosen]

    def _bent(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Pixels (B, 18, 18) of some examples, bent in their own ways unless that is switched off."""
        if not self._config.augment:
            return self._pixels[chosen]
        return augment(self._ink[chosen], self._frames[chosen], self._config.augment, generator)

    def _step(self, pixels: Tensor, labels: Tensor) -> Tensor:
        loss = loss_of(self._config.output, self._mlp(pixels), labels)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return loss.detach()

    def _set_learning_rate(self, step: int) -> None:
        rate = learning_rate_at(step, self._config.epochs * self.steps, self._config.learning_rate)
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    def _validate(self) -> tuple[float, float, Tensor]:
        """The loss, the error and the logits, float32 (V, 10), on the validation part."""
        pixels, labels = self._validation
        logits = calculate_logits(self._mlp, pixels)
        wrong = (logits.argmax(dim=1) != labels).to(torch.float64).mean()
        return float(loss_of(self._config.output, logits, labels)), float(wrong), logits

    def _after(self, checkpoint: Checkpoint, epoch: Epoch, logits: Tensor) -> Checkpoint:
        weights = _copied(self._mlp.state_dict())
        after = replace(
            checkpoint,
            history=(*checkpoint.history, epoch),
            weights=weights,
            optimizer=copy.deepcopy(self._optimizer.state_dict()),  # the next epoch changes it in place
        )
        if after.best != epoch:
            return after
        labels = self._validation[1].cpu()
        return replace(after, best_weights=weights, validation_logits=logits.cpu(), validation_labels=labels)

    def _to_device(self, examples: Examples) -> tuple[Tensor, Tensor]:
        return torch.tensor(examples.pixels, device=self._device), torch.tensor(examples.labels, device=self._device)


def _copied(weights: Weights) -> Mapping[str, Tensor]:
    return {name: values.detach().to("cpu", copy=True) for name, values in weights.items()}
