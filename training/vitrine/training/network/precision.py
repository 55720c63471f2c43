"""Mixed precision, where it pays: bfloat16 matrix products on CUDA, float32 everywhere else."""

from contextlib import AbstractContextManager

import torch


def mixed_precision(device: torch.device) -> AbstractContextManager[object]:
    """What a forward pass runs in. The parameters and their optimizer stay float32, and so does all of it on a CPU."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
