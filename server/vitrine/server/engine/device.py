"""The devices that a model can run on, by name. It imports no ONNX Runtime."""

from enum import StrEnum

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
"""ONNX Runtime's names for what runs a model on each device."""


class Device(StrEnum):
    """The device that a model runs on."""

    AUTO = "auto"
    """On CUDA where that works, else on the CPU."""
    CPU = "cpu"
    """On the CPU."""
    CUDA = "cuda"
    """On CUDA, or not at all."""
