"""Random number streams of a training run, one per purpose.

Each stream is derived from the seed, its purpose and a number, such as the epoch. So an interruption after epoch 6
does not change the numbers of epoch 7. No global random state is used.
"""

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """Purposes of random numbers. The values are part of every derived seed and must not change."""

    START = 0
    """Initial parameters."""
    SPLIT = 1
    """Choice of the held-out examples."""
    EPOCH = 2
    """Order and augmentation of one epoch; the stream's number is the epoch's."""
    TEACHER = 3
    """Initial parameters of the teacher, and order and augmentation of its epochs."""
    VERSION = 4
    """Augmentation of one version of the teacher's batches; the stream's number is the version's."""
    DROPOUT = 5
    """Dropout of one of the teacher's networks; the stream's number is the network's index."""


def entropy(seed: int, stream: Stream, number: int = 0) -> int:
    """Seed of one stream: an unsigned 64-bit integer, mixed from `seed` (0 or more), the purpose and the number."""
    return int(np.random.SeedSequence([seed, stream, number]).generate_state(1, np.uint64)[0])


def torch_generator(seed: int, stream: Stream, number: int = 0) -> torch.Generator:
    """A PyTorch generator on the CPU, so that a seed gives the same numbers for every training device."""
    return torch.Generator().manual_seed(entropy(seed, stream, number))


def numpy_generator(seed: int, stream: Stream, number: int = 0) -> np.random.Generator:
    """A NumPy generator."""
    return np.random.default_rng(entropy(seed, stream, number))


def to_device(numbers: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Random numbers from the CPU on another device. CUDA copies them from pinned memory, and nobody waits for it."""
    return numbers.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else numbers.to(device)
