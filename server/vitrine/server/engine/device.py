"""Where a model can run: the word for it, without what runs it."""

from enum import StrEnum


class Device(StrEnum):
    """Where a model runs."""

    AUTO = "auto"
    """On CUDA where that works, else on the CPU."""
    CPU = "cpu"
    """On the CPU."""
    CUDA = "cuda"
    """On CUDA, or not at all."""
