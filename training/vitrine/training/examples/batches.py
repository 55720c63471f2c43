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
from vitrine.training.files.checksummed import read_checksummed, write_checksummed
from vitrine.training.network.precision import mixed_precision
from vitrine.training.randomness import Stream, torch_generator

CHUNK_SIZE = 1024
"""Images that are bent at a time: bounds the memory."""

TEACHER_BATCH_SIZE = 128
"""Images that a teacher is asked about at a time: what its layers calculate stays in a core's cache."""

PROFILER_LABEL = "batches"
"""What a profiler shows the making of batches as."""


TeacherFunction: TypeAlias = Callable[[Tensor], Tensor]
"""A teacher: (B, 18, 18), 0 to 255, to logits, float32 (B, C)."""


VERSIONS_SEED = 0
"""How a teacher's lessons are bent doesn't depend on the pupil."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """A batch to learn from."""

    pixels: Tensor
    """(B, 18, 18), 0 = white (paper), 255 = black (ink)."""
    labels: Tensor
    """int64 (B,)."""
    teacher_logits: Tensor | None = None
    """float32 (B, C): the teacher's logits; None without a teacher."""


class AugmentedBatches:
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
        self._pixels = torch.tensor(examples.pixels, device=device)  # (N, 18, 18)
        self._labels = torch.tensor(examples.labels, device=device)  # (N,)
        self._ink = torch.tensor(examples.bendable.ink, device=device)  # (N, H, W)
        self._frames = torch.tensor(examples.bendable.frames, device=device)  # (N, 3)

    def __len__(self) -> int:
        """How many examples an epoch has."""
        return len(self._labels)

    def epoch(self, number: int, batch_size: int, stream: Stream = Stream.EPOCH) -> Iterator[Batch]:
        """All examples in a random order, each bent in its own way; the same ones for a number every time."""
        generator = torch_generator(self._seed, stream, number)
        for chosen in self._order(generator, batch_size):
            yield Batch(self.augmented(chosen, generator), self._labels[chosen])

    def _order(self, generator: torch.Generator, batch_size: int) -> tuple[Tensor, ...]:
        order = torch.randperm(len(self), generator=generator).to(self.device)
        return torch.split(order, batch_size)

    def augmented(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Pixels (B, 18, 18) of the examples at some positions, int64 (B,)."""
        with record_function(PROFILER_LABEL):
            if not self._strength:
                return self._pixels[chosen]
            return augment(self._ink[chosen], self._frames[chosen], self._strength, generator)

    def replayed(self, pixels: Tensor, teacher_logits: Tensor, number: int, batch_size: int) -> Iterator[Batch]:
        """All examples in the order of an epoch, as pixels and with a judgement that were made before."""
        for chosen in self._order(torch_generator(self._seed, Stream.EPOCH, number), batch_size):
            with record_function(PROFILER_LABEL):
                batch = Batch(pixels[chosen], self._labels[chosen], teacher_logits[chosen].to(torch.float32))
            yield batch


class CachedTeacherBatches:
    """Lessons in a number of versions, with a teacher's judgement of every image.

    The versions are the teacher's: the same for every pupil, whatever its seed, and kept for the next one.

    Args:
        batches: what is bent and judged.
        teacher: who is asked.
        folder: the folder where the versions are kept.
        versions: how many there are, at least 1; each takes 22 MB for MNIST, in memory and on disk.
    """

    def __init__(self, batches: AugmentedBatches, teacher: TeacherFunction, folder: Path, versions: int) -> None:
        self._batches, self._teacher, self._folder, self._versions = batches, teacher, folder, versions
        self._loaded: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        """How many examples an epoch has."""
        return len(self._batches)

    def epoch(self, number: int, batch_size: int) -> Iterator[Batch]:
        """All examples in a random order, in the version whose turn it is."""
        version = (number - 1) % self._versions
        if version not in self._loaded:
            self._loaded[version] = self._find(version)
        return self._batches.replayed(*self._loaded[version], number, batch_size)

    def _find(self, version: int) -> tuple[Tensor, Tensor]:
        """Every example bent, uint8 (N, 18, 18), and what the teacher says of it, float16 (N, C)."""
        file, device = self._folder / f"{version}.pt", self._batches.device
        try:
            cached = read_checksummed(file)
            return cached["pixels"].to(device), cached["teacher_logits"].to(device)
        except (CheckpointError, OSError):  # there is none yet, or it is damaged
            pixels, teacher_logits = self._make(version)
        try:
            write_checksummed(file, {"pixels": pixels.cpu(), "teacher_logits": teacher_logits.cpu()})
        except OSError as error:
            _log.warning("cannot cache the teacher's logits in %s: %s", self._folder, error)
        return pixels, teacher_logits

    def _make(self, version: int) -> tuple[Tensor, Tensor]:
        generator, device = torch_generator(VERSIONS_SEED, Stream.VERSION, version), self._batches.device
        pixels, teacher_logits = [], []
        with torch.no_grad(), mixed_precision(device):  # what inference mode gives, nothing may be learnt from
            for chosen in torch.split(torch.arange(len(self), device=device), CHUNK_SIZE):
                augmented = self._batches.augmented(chosen, generator).round().to(torch.uint8)
                pixels.append(augmented)
                teacher_logits += [
                    self._teacher(images).to(torch.float16) for images in torch.split(augmented, TEACHER_BATCH_SIZE)
                ]
        return torch.cat(pixels), torch.cat(teacher_logits)
