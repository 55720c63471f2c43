"""Batches of augmented images with labels, and optionally with a teacher's logits, epoch by epoch.

All tensors stay on the device: the images are small, so slicing them is faster than a data loader. Computing a
teacher's logits takes longer than a training step. So there is a fixed number of augmented versions of all examples.
Each is computed once with its logits, cached, and used by several epochs.
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
"""Images augmented at a time, to bound the memory."""

TEACHER_BATCH_SIZE = 128
"""Images per forward pass of the teacher on a CPU: its activations then fit into a core's cache."""

PROFILER_LABEL = "batches"
"""Label of batch preparation in a profile."""


TeacherFunction: TypeAlias = Callable[[Tensor], Tensor]
"""A teacher: (B, height, width), 0 to 255, to logits, float32 (B, C)."""


VERSIONS_SEED = 0
"""Seed of the versions. It does not depend on the student, so that students can share cached versions."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """A training batch."""

    pixels: Tensor
    """(B, height, width), 0 = white (paper), 255 = black (ink)."""
    labels: Tensor
    """int64 (B,)."""
    teacher_logits: Tensor | None = None
    """float32 (B, C); None without a teacher."""


class AugmentedBatches:
    """Examples on a device, with new augmentation in each epoch.

    Args:
        examples: training examples.
        strength: strength of the augmentation; 0 uses the prepared pixels unchanged.
        seed: seed of order and augmentation.
        device: device of all tensors.
    """

    def __init__(self, examples: Examples, strength: float, seed: int, device: torch.device) -> None:
        self.device = device
        """Device of all tensors."""
        self._strength, self._seed = strength, seed
        self.shape = examples.shape
        """Height and width of the pixels."""
        self._pixels = torch.tensor(examples.pixels, device=device)  # (N, height, width)
        self._labels = torch.tensor(examples.labels, device=device)  # (N,)
        self._ink = torch.tensor(examples.bendable.ink, device=device)  # (N, H, W)
        self._frames = torch.tensor(examples.bendable.frames, device=device)  # (N, 3)

    def __len__(self) -> int:
        """Number of examples per epoch."""
        return len(self._labels)

    def epoch(self, number: int, batch_size: int, stream: Stream = Stream.EPOCH) -> Iterator[Batch]:
        """All examples in random order, each with its own augmentation; identical for the same number."""
        generator = torch_generator(self._seed, stream, number)
        for chosen in self._order(generator, batch_size):
            yield Batch(self.augmented(chosen, generator), self._labels[chosen])

    def _order(self, generator: torch.Generator, batch_size: int) -> tuple[Tensor, ...]:
        order = torch.randperm(len(self), generator=generator).to(self.device)
        return torch.split(order, batch_size)

    def augmented(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Augmented pixels (B, height, width) of the examples at the given positions, int64 (B,)."""
        with record_function(PROFILER_LABEL):
            if not self._strength:
                return self._pixels[chosen]
            return augment(self._ink[chosen], self._frames[chosen], self._strength, generator, self.shape)

    def replayed(self, pixels: Tensor, teacher_logits: Tensor, number: int, batch_size: int) -> Iterator[Batch]:
        """All examples in the order of an epoch, with pixels and teacher logits that were computed earlier."""
        for chosen in self._order(torch_generator(self._seed, Stream.EPOCH, number), batch_size):
            with record_function(PROFILER_LABEL):
                batch = Batch(pixels[chosen], self._labels[chosen], teacher_logits[chosen].to(torch.float32))
            yield batch


class CachedTeacherBatches:
    """Batches with teacher logits, in a fixed number of augmented versions that are cached on disk.

    The versions do not depend on the student's seed, so later students reuse them.

    Args:
        batches: examples to augment.
        teacher: network that computes the logits.
        folder: cache folder of the versions.
        versions: number of versions, at least 1. For MNIST, each takes 22 MB in memory and on disk.
    """

    def __init__(self, batches: AugmentedBatches, teacher: TeacherFunction, folder: Path, versions: int) -> None:
        self._batches, self._teacher, self._folder, self._versions = batches, teacher, folder, versions
        self._loaded: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        """Number of examples per epoch."""
        return len(self._batches)

    def epoch(self, number: int, batch_size: int) -> Iterator[Batch]:
        """All examples in random order; epochs use the versions in turn."""
        version = (number - 1) % self._versions
        if version not in self._loaded:
            self._loaded[version] = self._load_or_compute(version)
        return self._batches.replayed(*self._loaded[version], number, batch_size)

    def _load_or_compute(self, version: int) -> tuple[Tensor, Tensor]:
        """Pixels, uint8 (N, height, width), and teacher logits, float16 (N, C) of a version, cached if possible."""
        file, device = self._folder / f"{version}.pt", self._batches.device
        try:
            cached = read_checksummed(file)
            return cached["pixels"].to(device), cached["teacher_logits"].to(device)
        except (CheckpointError, OSError):  # not cached yet, or damaged
            pixels, teacher_logits = self._compute(version)
        try:
            write_checksummed(file, {"pixels": pixels.cpu(), "teacher_logits": teacher_logits.cpu()})
        except OSError as error:
            _log.warning("cannot cache the teacher's logits in %s: %s", self._folder, error)
        return pixels, teacher_logits

    def _compute(self, version: int) -> tuple[Tensor, Tensor]:
        generator, device = torch_generator(VERSIONS_SEED, Stream.VERSION, version), self._batches.device
        pixels, teacher_logits = [], []
        at_once = TEACHER_BATCH_SIZE if device.type == "cpu" else CHUNK_SIZE
        with torch.no_grad():  # inference mode's tensors can't be used in training
            for chosen in torch.split(torch.arange(len(self), device=device), CHUNK_SIZE):
                augmented = self._batches.augmented(chosen, generator).round().to(torch.uint8)
                pixels.append(augmented)
                with mixed_precision(device):  # of the teacher only: positions in an image need more than bfloat16
                    teacher_logits += [
                        self._teacher(images).to(torch.float16) for images in torch.split(augmented, at_once)
                    ]
        return torch.cat(pixels), torch.cat(teacher_logits)
