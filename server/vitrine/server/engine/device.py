"""Where a model can run: the word for it, without what runs it."""

from enum import StrEnum

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
"""ONNX Runtime's names for what runs a model on each device."""


class Device(StrEnum):
    """Where a model runs."""

    AUTO = "auto"
    """On CUDA where that works, else on the CPU."""
    CPU = "cpu"
    """On the CPU."""
    CUDA = "cuda"
    """On CUDA, or not at all."""
