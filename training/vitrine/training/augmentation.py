"""Bends training images a little, so that the network learns digits rather than these drawings of them.

Each image gets a random affine map of its own: rotation, scale along both axes, shear and shift. It knows pixels and
no labels; all its random numbers come from the generator that it is given.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vitrine.model.preparation import SIDE

ROTATION = math.radians(10)
"""The largest angle, either way, at strength 1."""

SCALE = 0.12
"""The largest change of width and of height, each on its own."""

SHEAR = 0.15
"""The largest slant: how far the top moves sideways against the bottom, as a share of the height."""

SHIFT = 1.0
"""The largest move along each axis, in pixels."""


def augment(pixels: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Random affine maps of a batch.

    Args:
        pixels: (B, 18, 18), 0 = white (paper), 255 = black (ink), on any device.
        strength: what the constants of this module are multiplied by, 0 or more.
        generator: on the CPU, so that a seed means the same on every device.

    Returns:
        float32 (B, 18, 18), 0 to 255; what comes in from outside the frame is paper.
    """
    maps = random_maps(len(pixels), strength, generator).to(pixels.device)  # (B, 2, 3)
    images = pixels.to(torch.float32).unsqueeze(1)  # (B, 1, 18, 18)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)  # (B, 18, 18, 2)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False).squeeze(1)


def random_maps(count: int, strength: float, generator: torch.Generator) -> Tensor:
    """Affine maps from places in the new image to places in the old: float32 (B, 2, 3), the frame being -1 to 1."""
    angle, width, height, slant, right, down = strength * (2 * torch.rand((6, count), generator=generator) - 1)
    angle, width, height = ROTATION * angle, torch.exp(SCALE * width), torch.exp(SCALE * height)
    cos, sin, slant = torch.cos(angle), torch.sin(angle), SHEAR * slant
    shift = 2 * SHIFT / SIDE
    rows = (
        (cos * width, (slant * cos - sin) * height, shift * right),
        (sin * width, (slant * sin + cos) * height, shift * down),
    )
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
