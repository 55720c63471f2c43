"""The teacher: an ensemble of two small convolutional networks, trained first, whose logits the MLP learns from.

Convolutions share weights between places, so they reach a lower error than an MLP, with fewer parameters. Averaging two
networks removes some of their independent errors. The teacher is never exported: only the MLP is served.

Learning from a teacher's logits is distillation (G. Hinton et al. 2015, arXiv:1503.02531), here over many augmented
copies of each image (L. Beyer et al. 2022, arXiv:2106.05237).
"""

import copy
import math
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval
from tqdm import tqdm

from vitrine.model import PIXELS_SHAPE, Shape
from vitrine.training.errors import CheckpointError, TrainingError
from vitrine.training.examples.batches import AugmentedBatches
from vitrine.training.files.checksummed import read_checksummed, write_checksummed
from vitrine.training.network.mlp import scale
from vitrine.training.network.precision import mixed_precision
from vitrine.training.network.schedule import learning_rate_at
from vitrine.training.network.step import TrainingStep
from vitrine.training.randomness import Stream, entropy

NETWORKS = 2
"""Number of networks in a teacher. They are trained in parallel, and their logits are averaged."""

CHANNELS = 32
"""Channels of a network's first two layers; later layers have two and four times as many."""

BENT_BATCHES = 8
"""Batches of the teacher whose images are bent together."""

BATCH_SIZE = 128
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.02
"""AdamW's settings for the teacher."""

DROPOUT = 0.3
"""Share of the last features that is dropped in training, 0 to 1."""

FORMAT_VERSION = 2
"""Version of the teacher file's layout."""


class TeacherNetwork(nn.Module):
    """Six 3 × 3 convolutions with batch normalisation, two poolings that halve the image, and one linear layer.

    Args:
        classes: number of logits.
        shape: height and width of the pixels, each at least 4.
    """

    def __init__(self, classes: int, shape: Shape = PIXELS_SHAPE) -> None:
        super().__init__()
        self._shape = shape
        one, two, three = CHANNELS, 2 * CHANNELS, 4 * CHANNELS
        self.features = nn.Sequential(
            *_convolution(1, one),
            *_convolution(one, one),
            nn.MaxPool2d(2),  # (B, C, height / 2, width / 2)
            *_convolution(one, two),
            *_convolution(two, two),
            nn.MaxPool2d(2),  # (B, 2C, height / 4, width / 4)
            *_convolution(two, three),
            *_convolution(three, three),
        )
        height, width = shape
        self.last = nn.Linear(three * (height // 4) * (width // 4), classes)

    def forward(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, height, width), 0 to 255, to logits, float32 (B, classes). Dropout is applied if a generator is given."""
        images = scale(pixels).view(-1, 1, *self._shape)
        images = images.contiguous(memory_format=torch.channels_last)  # fastest on CPUs
        features = self.features(images).flatten(1)
        logits: Tensor = self.last(features if generator is None else _dropout(features, generator))
        return logits


class Teacher(nn.Module):
    """An ensemble of networks whose logits are averaged.

    Args:
        classes: number of logits.
        shape: height and width of the pixels, each at least 4.
    """

    def __init__(self, classes: int, shape: Shape = PIXELS_SHAPE) -> None:
        super().__init__()
        self.networks = nn.ModuleList(TeacherNetwork(classes, shape) for _ in range(NETWORKS))

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, height, width), 0 to 255, to the mean of the networks' logits, float32 (B, classes)."""
        return torch.stack([network(pixels).float() for network in self.networks]).mean(dim=0)

    def folded(self) -> Self:
        """A copy for inference, twice as fast: every batch normalisation is folded into its convolution."""
        copied = copy.deepcopy(self).eval()
        for network in copied.networks:
            network.features = _fuse_batch_norms(cast(nn.Sequential, network.features))
        copied.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # PyTorch declares it for tensors only
        return copied


def _convolution(reads: int, gives: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(reads, gives, 3, padding=1, bias=False), nn.BatchNorm2d(gives), nn.ReLU(inplace=True)


def _fuse_batch_norms(features: nn.Sequential) -> nn.Sequential:
    layers = list(features)
    for place, layer in reversed(list(enumerate(layers))):
        if isinstance(layer, nn.BatchNorm2d):
            layers[place - 1 : place + 1] = [fuse_conv_bn_eval(cast(nn.Conv2d, layers[place - 1]), layer)]
    return nn.Sequential(*layers)


def _dropout(features: Tensor, generator: torch.Generator) -> Tensor:
    """Dropout with an explicit generator, which PyTorch's lacks: networks trained in parallel must not share one.

    The generator is on the device of the features, because a recorded step can't take numbers from the CPU.
    """
    kept = torch.rand(features.shape, generator=generator, device=generator.device) >= DROPOUT
    return features * kept / (1 - DROPOUT)


def fit_teacher(batches: AugmentedBatches, classes: int, epochs: int, seed: int, *, progress: bool = True) -> Teacher:
    """Trains the networks of a teacher in parallel, on the device of the batches.

    Args:
        batches: training data.
        classes: number of classes of the labels.
        epochs: passes over the examples for each network, at least 1.
        seed: seed of the initial parameters.
        progress: True shows a progress bar.

    Raises:
        TrainingError: a parameter is not finite after the training.
    """
    teacher = _new_teacher(classes, batches.shape, seed).to(batches.device)
    steps = NETWORKS * _step_count(batches, epochs)
    with tqdm(desc="fit teacher", total=steps, unit="step", disable=not progress, dynamic_ncols=True) as bar:
        _train_in_parallel(_NetworkTraining(batches, epochs, seed, bar, threading.Event()), teacher)
    if not all(bool(values.isfinite().all()) for values in teacher.state_dict().values()):
        raise TrainingError("the teacher's parameters are not finite: lower --augment, or set --teacher-epochs to 0")
    return teacher.eval()


def _step_count(batches: AugmentedBatches, epochs: int) -> int:
    """Training steps of each network."""
    return epochs * math.ceil(len(batches) / BATCH_SIZE)


def _new_teacher(classes: int, shape: Shape, seed: int) -> Teacher:
    with torch.random.fork_rng(devices=[]):  # modules draw initial parameters from the global generator
        torch.default_generator.manual_seed(entropy(seed, Stream.TEACHER))  # torch.manual_seed would also seed CUDA
        return Teacher(classes, shape)


@dataclass(frozen=True, slots=True, eq=False)
class _NetworkTraining:
    """The training of each network: AdamW with one cycle of the learning rate."""

    batches: AugmentedBatches
    epochs: int
    seed: int
    bar: "tqdm[Any]"
    """Progress bar, advanced after every step of any network."""
    stopped: threading.Event
    """Set to stop all networks after their current step."""

    def train(self, network: nn.Module, place: int) -> None:
        """Trains the network with index `place`, 0 to `NETWORKS` - 1; each index has its own augmentation."""
        network.train()
        device = self.batches.device
        dropping = torch.Generator(device).manual_seed(entropy(self.seed, Stream.DROPOUT, place))

        def loss(pixels: Tensor, labels: Tensor) -> Tensor:
            with mixed_precision(device):
                return F.cross_entropy(network(pixels, dropping), labels)

        take = TrainingStep(network.parameters(), loss, WEIGHT_DECAY, device, dropping)
        steps = _step_count(self.batches, self.epochs)
        for step, (pixels, labels) in enumerate(self._batches_for(place)):
            if self.stopped.is_set():
                return
            take(learning_rate_at(step, steps, LEARNING_RATE), pixels, labels)
            with self.bar.get_lock():  # type: ignore[no-untyped-call]  # update() is not atomic
                self.bar.update()

    def _batches_for(self, place: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Pixels and labels of each step. Several batches are bent at once, which a GPU does as fast as one."""
        for number in range(place * self.epochs + 1, (place + 1) * self.epochs + 1):
            for bent in self.batches.epoch(number, BENT_BATCHES * BATCH_SIZE, Stream.TEACHER):
                yield from zip(torch.split(bent.pixels, BATCH_SIZE), torch.split(bent.labels, BATCH_SIZE), strict=True)


def _train_in_parallel(training: _NetworkTraining, teacher: Teacher) -> None:
    """Trains each network in a thread of its own if PyTorch has two or more: small convolutions use one well.

    On CUDA the networks are trained one after the other: two would only wait for each other.
    """
    with _thread_pool(NETWORKS if training.batches.device.type == "cpu" else 1) as pool, pool:
        try:
            futures = [pool.submit(training.train, network, n) for n, network in enumerate(teacher.networks)]
            for done in as_completed(futures):
                done.result()
        finally:  # after Ctrl-C or an error, the other networks stop after their current step
            training.stopped.set()


@contextmanager
def _thread_pool(most: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of up to `most` threads for the networks, which share PyTorch's threads equally."""
    threads = torch.get_num_threads()
    workers = min(most, threads)
    try:
        yield ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,))
    finally:
        torch.set_num_threads(threads)  # workers changed the default for later threads


def save_teacher(path: Path, teacher: Teacher, facts: Mapping[str, Any]) -> None:
    """Writes a teacher with facts about its training: plain data by name."""
    write_checksummed(path, {"teacher_version": FORMAT_VERSION, "facts": dict(facts), "weights": teacher.state_dict()})


def load_teacher(path: Path, facts: Mapping[str, Any], shape: Shape = PIXELS_SHAPE) -> Teacher:
    """Reads a teacher, on the CPU and in evaluation mode.

    Raises:
        CheckpointError: the file is missing or damaged, or its facts differ from `facts`.
    """
    document = read_checksummed(path)
    if document.get("teacher_version") != FORMAT_VERSION:
        raise CheckpointError(f"{path} is not a teacher of this version of Vitrine: remove it, or name another")
    learnt_with = {"drawings": 1, "forms": 0} | document["facts"]  # what teachers of older versions don't say
    differing = [name for name in facts if learnt_with.get(name) != facts[name]]
    if differing:
        raise CheckpointError(
            f"the teacher {path} was trained with another {', '.join(differing)}: remove it, or name another teacher"
        )
    weights = document["weights"]
    teacher = Teacher(len(weights["networks.0.last.bias"]), shape)
    teacher.load_state_dict(weights)
    return teacher.eval()
