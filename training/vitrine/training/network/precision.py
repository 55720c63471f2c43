"""Mixed precision, where it pays: bfloat16 matrix products on CUDA, float32 everywhere else."""

from contextlib import AbstractContextManager

import torch


def mixed_precision(device: torch.device) -> AbstractContextManager[object]:
    """The context of a forward pass. Parameters and optimizer stay float32; on a CPU everything does."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
