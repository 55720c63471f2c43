"""Lessons: what a fit learns from, epoch by epoch: bent images with their labels, and what a teacher says of them.

Everything stays on the device as tensors: the images are small, and slicing is faster than a loader. Where there is a
teacher, asking it takes longer than learning, so a number of versions of all examples, each bent in its own way, are
made once, when an epoch first needs one, and gone through in turns.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from vitrine.training.augmentation import augment
from vitrine.training.data import Examples
from vitrine.training.precision import mixed_precision
from vitrine.training.randomness import Stream, torch_generator

CHUNK = 1024
"""Images that are bent and judged at a time: bounds the memory."""


Judge: TypeAlias = Callable[[Tensor], Tensor]
"""A teacher: (B, 18, 18), 0 to 255, to logits, float32 (B, C)."""


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """A batch to learn from."""

    pixels: Tensor
    """(B, 18, 18), 0 = white (paper), 255 = black (ink)."""
    labels: Tensor
    """int64 (B,)."""
    judgement: Tensor | None = None
    """float32 (B, C): the teacher's logits; None without a teacher."""


class Lessons:
    """Examples on a device, bent anew for each epoch, or in a number of versions.

    Args:
        examples: what is learnt from.
        strength: how far images are bent; 0 takes the prepared pixels as they are.
        seed: where the bends and the order come from.
        device: where the tensors are.
    """

    def __init__(self, examples: Examples, strength: float, seed: int, device: torch.device) -> None:
        self._strength, self._seed, self._device = strength, seed, device
        self._pixels = torch.tensor(examples.pixels, device=device)  # (N, 18, 18)
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
            yield Lesson(self._bent(chosen, generator), self._labels[chosen])

    def _order(self, generator: torch.Generator, batch_size: int) -> tuple[Tensor, ...]:
        order = torch.randperm(len(self), generator=generator).to(self._device)
        return torch.split(order, batch_size)

    def _bent(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Pixels (B, 18, 18) of some examples."""
        if not self._strength:
            return self._pixels[chosen]
        return augment(self._ink[chosen], self._frames[chosen], self._strength, generator)


class JudgedLessons(Lessons):
    """Lessons in a number of versions, with a teacher's judgement of every image.

    Args:
        teacher: who is asked.
        versions: how many differently bent versions of all examples there are, at least 1; 20 MB each for MNIST.

    The others are those of `Lessons`.
    """

    def __init__(
        self, examples: Examples, strength: float, seed: int, device: torch.device, teacher: Judge, versions: int
    ) -> None:
        super().__init__(examples, strength, seed, device)
        self._teacher, self._versions = teacher, versions
        self._made: dict[int, tuple[Tensor, Tensor]] = {}

    def epoch(self, number: int, batch_size: int, stream: Stream = Stream.EPOCH) -> Iterator[Lesson]:
        """All examples in a random order, in the version whose turn it is."""
        version = (number - 1) % self._versions
        if version not in self._made:
            self._made[version] = self._make(version)
        pixels, judgement = self._made[version]
        for chosen in self._order(torch_generator(self._seed, stream, number), batch_size):
            yield Lesson(pixels[chosen], self._labels[chosen], judgement[chosen].to(torch.float32))

    def _make(self, version: int) -> tuple[Tensor, Tensor]:
        """Every example bent, uint8 (N, 18, 18), and what the teacher says of it, float16 (N, C)."""
        generator = torch_generator(self._seed, Stream.VERSION, version)
        pixels, judgement = [], []
        with torch.inference_mode(), mixed_precision(self._device):
            for chosen in torch.split(torch.arange(len(self), device=self._device), CHUNK):
                bent = self._bent(chosen, generator).round().to(torch.uint8)
                pixels.append(bent)
                judgement.append(self._teacher(bent).to(torch.float16))
        return torch.cat(pixels), torch.cat(judgement)
