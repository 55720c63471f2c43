"""The teacher: two small convolutional networks that learn digits first, and together teach them to the MLP.

They see what neighbours have in common, which an MLP must learn anew at each place, so they err less with fewer
parameters; and where they err by chance, they seldom err alike. They are never exported: what is served is the MLP.
Learning from a teacher's logits rather than from bare labels is distillation (G. Hinton et al. 2015,
arXiv:1503.02531), over many bends of each image (L. Beyer et al. 2022, arXiv:2106.05237).
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
from vitrine.training.examples.lessons import Lesson, Lessons
from vitrine.training.files.checksummed import read_sealed, write_sealed
from vitrine.training.network.mlp import scale
from vitrine.training.network.precision import mixed_precision
from vitrine.training.network.schedule import learning_rate_at
from vitrine.training.randomness import Stream, entropy, torch_generator

NETWORKS = 2
"""How many networks a teacher is: they learn side by side, and their logits are averaged."""

CHANNELS = 32
"""The channels of a network's first two layers; later ones have twice and four times as many."""

BATCH_SIZE = 128
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.02
"""AdamW's settings for the teacher."""

DROPOUT = 0.3
"""The share of the last features that is left out while it learns."""

FORMAT_VERSION = 2
"""The version of a teacher's file."""


class TeacherNetwork(nn.Module):
    """Six 3 × 3 convolutions with batch normalisation, the image halved twice, and one linear layer.

    Args:
        classes: how many logits it gives.
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
        """(B, height, width), 0 to 255, to logits, float32 (B, classes); a generator leaves features out at random."""
        images = scale(pixels).view(-1, 1, *self._shape)
        images = images.contiguous(memory_format=torch.channels_last)  # fastest on a CPU
        features = self.features(images).flatten(1)
        logits: Tensor = self.last(features if generator is None else _dropped(features, generator))
        return logits


class Teacher(nn.Module):
    """Networks that are asked together.

    Args:
        classes: how many logits it gives.
        shape: height and width of the pixels, each at least 4.
    """

    def __init__(self, classes: int, shape: Shape = PIXELS_SHAPE) -> None:
        super().__init__()
        self.networks = nn.ModuleList(TeacherNetwork(classes, shape) for _ in range(NETWORKS))

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, height, width), 0 to 255, to the mean of the networks' logits, float32 (B, classes)."""
        return torch.stack([network(pixels).float() for network in self.networks]).mean(dim=0)

    def folded(self) -> Self:
        """A copy that can only be asked, in half the time: each normalisation is folded into its convolution."""
        copied = copy.deepcopy(self).eval()
        for network in copied.networks:
            network.features = _folded(cast(nn.Sequential, network.features))
        copied.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # PyTorch declares it for tensors only
        return copied


def _convolution(reads: int, gives: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(reads, gives, 3, padding=1, bias=False), nn.BatchNorm2d(gives), nn.ReLU(inplace=True)


def _folded(features: nn.Sequential) -> nn.Sequential:
    layers = list(features)
    for place, layer in reversed(list(enumerate(layers))):
        if isinstance(layer, nn.BatchNorm2d):
            layers[place - 1 : place + 1] = [fuse_conv_bn_eval(cast(nn.Conv2d, layers[place - 1]), layer)]
    return nn.Sequential(*layers)


def _dropped(features: Tensor, generator: torch.Generator) -> Tensor:
    """Dropout with a generator of its own, which PyTorch's lacks: networks that learn side by side share none."""
    kept = torch.rand(features.shape, generator=generator).to(features.device) >= DROPOUT
    return features * kept / (1 - DROPOUT)


def fit_teacher(lessons: Lessons, classes: int, epochs: int, seed: int, *, progress: bool = True) -> Teacher:
    """Fits a teacher, its networks side by side, where the lessons are.

    Args:
        lessons: what it learns from.
        classes: how many classes the labels have.
        epochs: passes over the examples for each network, at least 1.
        seed: where its random start comes from.
        progress: whether to show a bar.

    Raises:
        TrainingError: its parameters are no numbers any more.
    """
    teacher = _begun(classes, lessons.shape, seed).to(lessons.device)
    steps = NETWORKS * _steps(lessons, epochs)
    with tqdm(desc="fit teacher", total=steps, unit="step", disable=not progress, dynamic_ncols=True) as bar:
        _side_by_side(_Studies(lessons, epochs, seed, bar, threading.Event()), teacher)
    if not all(bool(values.isfinite().all()) for values in teacher.state_dict().values()):
        raise TrainingError("the teacher's parameters are no numbers any more: bend the images less, or do without it")
    return teacher.eval()


def _steps(lessons: Lessons, epochs: int) -> int:
    """Those of each network."""
    return epochs * math.ceil(len(lessons) / BATCH_SIZE)


def _begun(classes: int, shape: Shape, seed: int) -> Teacher:
    with torch.random.fork_rng(devices=[]):  # what modules start from has no generator of its own
        torch.default_generator.manual_seed(entropy(seed, Stream.TEACHER))  # `torch.manual_seed` is CUDA's, too
        return Teacher(classes, shape)


@dataclass(frozen=True, slots=True, eq=False)
class _Studies:
    """How each network of a teacher learns: one cycle of the learning rate."""

    lessons: Lessons
    epochs: int
    seed: int
    bar: "tqdm[Any]"
    """What is moved on after each step of any of them."""
    stopped: threading.Event
    """Set when the steps that are left are not to be made."""

    def go_through(self, network: nn.Module, place: int) -> None:
        """All steps of the network at a place, 0 to `NETWORKS` - 1; each place has bends of its own."""
        network.train()
        optimizer = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY, fused=True)
        dropping = torch_generator(self.seed, Stream.DROPOUT, place)
        steps = _steps(self.lessons, self.epochs)
        for step, lesson in enumerate(self._in_order(place)):
            if self.stopped.is_set():
                return
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, steps, LEARNING_RATE)
            with mixed_precision(self.lessons.device):
                loss = F.cross_entropy(network(lesson.pixels, dropping), lesson.labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            with self.bar.get_lock():  # type: ignore[no-untyped-call]  # adding one isn't atomic
                self.bar.update()

    def _in_order(self, place: int) -> Iterator[Lesson]:
        for number in range(place * self.epochs + 1, (place + 1) * self.epochs + 1):
            yield from self.lessons.epoch(number, BATCH_SIZE, Stream.TEACHER)


def _side_by_side(studies: _Studies, teacher: Teacher) -> None:
    """A thread for each network, as far as PyTorch has threads: small convolutions gain little from a second one."""
    with _shared_threads() as learners, learners:
        try:
            under_way = [learners.submit(studies.go_through, network, n) for n, network in enumerate(teacher.networks)]
            for done in as_completed(under_way):
                done.result()
        finally:  # Ctrl-C, or an error of one: the others stop after the step that they are at
            studies.stopped.set()


@contextmanager
def _shared_threads() -> Iterator[ThreadPoolExecutor]:
    """Threads for the networks, with an equal share of PyTorch's threads each."""
    threads = torch.get_num_threads()
    learners = min(NETWORKS, threads)
    try:
        yield ThreadPoolExecutor(learners, initializer=torch.set_num_threads, initargs=(threads // learners,))
    finally:
        torch.set_num_threads(threads)  # what a thread sets for itself is what later threads begin with, too


def save_teacher(path: Path, teacher: Teacher, facts: Mapping[str, Any]) -> None:
    """Writes a teacher, with what it was taught: plain data by name."""
    write_sealed(path, {"teacher_version": FORMAT_VERSION, "facts": dict(facts), "weights": teacher.state_dict()})


def load_teacher(path: Path, facts: Mapping[str, Any], shape: Shape = PIXELS_SHAPE) -> Teacher:
    """Reads a teacher, on the CPU and ready to be asked.

    Raises:
        CheckpointError: it is missing or damaged, or was taught other data or with other settings than `facts` says.
    """
    document = read_sealed(path)
    if document.get("teacher_version") != FORMAT_VERSION:
        raise CheckpointError(f"{path} isn't a teacher of this Vitrine's: remove it, or name its like")
    differing = [name for name in facts if document["facts"].get(name) != facts[name]]
    if differing:
        raise CheckpointError(
            f"the teacher {path} was taught with another {', '.join(differing)}: remove it, or name its like"
        )
    weights = document["weights"]
    teacher = Teacher(len(weights["networks.0.last.bias"]), shape)
    teacher.load_state_dict(weights)
    return teacher.eval()
