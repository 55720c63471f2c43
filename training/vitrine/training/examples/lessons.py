"""Lessons: what a fit learns from, epoch by epoch: bent images with their labels, and what a teacher says of them.

Everything stays on the device as tensors: the images are small, and slicing is faster than a loader. Where there is a
teacher, asking it takes longer than learning, so a number of versions of all examples, each bent in its own way, are
made once, when an epoch first needs one, and gone through in turns.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor
from torch.profiler import record_function

from vitrine.training.data import Examples
from vitrine.training.errors import CheckpointError
from vitrine.training.examples.augmentation import augment
from vitrine.training.files.checksummed import read_sealed, write_sealed
from vitrine.training.network.precision import mixed_precision
from vitrine.training.randomness import Stream, torch_generator

CHUNK = 1024
"""Images that are bent at a time: bounds the memory."""

ASKED = 128
"""Images that a teacher is asked about at a time: what its layers calculate stays in a core's cache."""

LABEL = "lessons"
"""What a profiler shows the making of batches as."""


Judge: TypeAlias = Callable[[Tensor], Tensor]
"""A teacher: (B, height, width), 0 to 255, to logits, float32 (B, C)."""


LESSONS_SEED = 0
"""How a teacher's lessons are bent doesn't depend on the pupil."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """A batch to learn from."""

    pixels: Tensor
    """(B, height, width), 0 = white (paper), 255 = black (ink)."""
    labels: Tensor
    """int64 (B,)."""
    judgement: Tensor | None = None
    """float32 (B, C): the teacher's logits; None without a teacher."""


class Lessons:
    """Examples on a device, bent anew for each epoch.

    Args:
        examples: what is learnt from.
        strength: how far images are bent; 0 takes the prepared pixels as they are.
        seed: where the bends and the order come from.
        device: where the tensors are.
    """

    def __init__(self, examples: Examples, strength: float, seed: int, device: torch.device) -> None:
        self.device = device
        """Where the tensors are."""
        self._strength, self._seed = strength, seed
        self.shape = examples.shape
        """Height and width of the pixels."""
        self._pixels = torch.tensor(examples.pixels, device=device)  # (N, height, width)
        self._labels = torch.tensor(examples.labels, device=device)  # (N,)
        self._ink = torch.tensor(examples.bendable.ink, device=device)  # (N, H, W)
        self._frames = torch.tensor(examples.bendable.frames, device=device)  # (N, 3)

    def __len__(self) -> int:
        """How many examples an epoch has."""
        return len(self._labels)

    def epoch(self, number: int, batch_size: int, stream: Stream = Stream.EPOCH) -> Iterator[Lesson]:
        """All examples in a random order, each bent in its own way; the same ones for a number every time."""
        generator = torch_generator(self._seed, stream, number)
        for chosen in self._order(generator, batch_size):
            yield Lesson(self.bent(chosen, generator), self._labels[chosen])

    def _order(self, generator: torch.Generator, batch_size: int) -> tuple[Tensor, ...]:
        order = torch.randperm(len(self), generator=generator).to(self.device)
        return torch.split(order, batch_size)

    def bent(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Pixels (B, height, width) of the examples at some positions, int64 (B,)."""
        with record_function(LABEL):
            if not self._strength:
                return self._pixels[chosen]
            return augment(self._ink[chosen], self._frames[chosen], self._strength, generator, self.shape)

    def seen_in(self, pixels: Tensor, judgement: Tensor, number: int, batch_size: int) -> Iterator[Lesson]:
        """All examples in the order of an epoch, as pixels and with a judgement that were made before."""
        for chosen in self._order(torch_generator(self._seed, Stream.EPOCH, number), batch_size):
            with record_function(LABEL):
                lesson = Lesson(pixels[chosen], self._labels[chosen], judgement[chosen].to(torch.float32))
            yield lesson


class JudgedLessons:
    """Lessons in a number of versions, with a teacher's judgement of every image.

    The versions are the teacher's: the same for every pupil, whatever its seed, and kept for the next one.

    Args:
        lessons: what is bent and judged.
        teacher: who is asked.
        kept_in: the folder where the versions are kept.
        versions: how many there are, at least 1; each takes 22 MB for MNIST, in memory and on disk.
    """

    def __init__(self, lessons: Lessons, teacher: Judge, kept_in: Path, versions: int) -> None:
        self._lessons, self._teacher, self._folder, self._versions = lessons, teacher, kept_in, versions
        self._made: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        """How many examples an epoch has."""
        return len(self._lessons)

    def epoch(self, number: int, batch_size: int) -> Iterator[Lesson]:
        """All examples in a random order, in the version whose turn it is."""
        version = (number - 1) % self._versions
        if version not in self._made:
            self._made[version] = self._find(version)
        return self._lessons.seen_in(*self._made[version], number, batch_size)

    def _find(self, version: int) -> tuple[Tensor, Tensor]:
        """Every example bent, uint8 (N, height, width), and what the teacher says of it, float16 (N, C)."""
        file, device = self._folder / f"{version}.pt", self._lessons.device
        try:
            kept = read_sealed(file)
            return kept["pixels"].to(device), kept["judgement"].to(device)
        except (CheckpointError, OSError):  # there is none yet, or it is damaged
            pixels, judgement = self._make(version)
        try:
            write_sealed(file, {"pixels": pixels.cpu(), "judgement": judgement.cpu()})
        except OSError as error:
            _log.warning("lessons can't be kept in %s, and are made anew by the next run: %s", self._folder, error)
        return pixels, judgement

    def _make(self, version: int) -> tuple[Tensor, Tensor]:
        generator, device = torch_generator(LESSONS_SEED, Stream.VERSION, version), self._lessons.device
        pixels, judgement = [], []
        with torch.no_grad(), mixed_precision(device):  # what inference mode gives, nothing may be learnt from
            for chosen in torch.split(torch.arange(len(self), device=device), CHUNK):
                bent = self._lessons.bent(chosen, generator).round().to(torch.uint8)
                pixels.append(bent)
                judgement += [self._teacher(asked).to(torch.float16) for asked in torch.split(bent, ASKED)]
        return torch.cat(pixels), torch.cat(judgement)
