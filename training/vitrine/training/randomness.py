"""Where every random number of a training run comes from: its seed, and what the number is for.

Each use has a stream of its own, made from the seed and the use's place in the run. So the random numbers of epoch 7
are the same whether the run got there in one go or was interrupted after epoch 6, and no global state is touched.
"""

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What random numbers are for."""

    START = 0
    """The random start of the parameters."""
    SPLIT = 1
    """Which examples are held out."""
    EPOCH = 2
    """One epoch's order and augmentation; its number is part of the stream's place."""
    TEACHER = 3
    """The same for the teacher's epochs, and its random start."""
    VERSION = 4
    """How one version of the lessons is bent; its number is part of the stream's place."""
    DROPOUT = 5
    """What one of the teacher's networks leaves out while it learns; its place is part of the stream's place."""


def entropy(seed: int, stream: Stream, number: int = 0) -> int:
    """The seed of one stream: an unsigned 64-bit integer, well mixed from `seed` (0 or more) and the stream's place."""
    return int(np.random.SeedSequence([seed, stream, number]).generate_state(1, np.uint64)[0])


def torch_generator(seed: int, stream: Stream, number: int = 0) -> torch.Generator:
    """A generator of PyTorch's, on the CPU: the same numbers wherever the network is."""
    return torch.Generator().manual_seed(entropy(seed, stream, number))


def numpy_generator(seed: int, stream: Stream, number: int = 0) -> np.random.Generator:
    """A generator of numpy's."""
    return np.random.default_rng(entropy(seed, stream, number))
