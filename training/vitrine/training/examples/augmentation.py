"""Bends training images, so that the network learns digits rather than these drawings of them.

Each image gets an affine map of its own (rotation, scale along both axes, shear and shift), a smooth field of small
moves (elastic distortion, P. Simard et al. 2003, doi:10.1109/ICDAR.2003.1227801), and strokes a little thicker or
thinner. All of it is one resampling, from the original to the pixels. It knows no labels; all its random numbers come
from the generator that it is given.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vitrine.model.preparation.pipeline import SIDE

MAX_ROTATION = math.radians(12)
"""The largest angle, either way, at strength 1."""

MAX_LOG_SCALE = 0.12
"""The largest change of the logarithm of width and of height, each on its own."""

MAX_SHEAR = 0.2
"""The largest slant: how far the top moves sideways against the bottom, as a share of the height."""

MAX_SHIFT = 0.8
"""The largest move along each axis, in pixels."""

ELASTIC_STD = 0.7
"""How far a place moves by the elastic field: the standard deviation along each axis, in pixels."""

BUMP_STD = 3.0
"""Over how many pixels neighbours move alike: the standard deviation of the field's bumps."""

BUMPS = 7
"""The elastic field is made of so many bumps along each axis, three pixels beyond the frame on either side."""

MAX_STROKE_CHANGE = 0.4
"""The largest change of a stroke, as a share of the way to one that is a pixel of the original wider on either side."""


def augment(ink: Tensor, frames: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Random bends of a batch of originals.

    Args:
        ink: uint8 (B, H, W), 0 = paper, 255 = ink, on any device.
        frames: float32 (B, 3), where the pixels' frame lies over the ink: see `Originals`.
        strength: what the constants of this module are multiplied by, 0 or more.
        generator: on the CPU, so that a seed means the same on every device.

    Returns:
        float32 (B, 18, 18), 0 = white (paper), 255 = black (ink), the darkest pixel of each image 255.
    """
    places = _sample_points(len(ink), strength, generator).to(ink.device)  # (B, 18, 18, 2)
    strokes = strength * MAX_STROKE_CHANGE * _uniform((len(ink), 1, 1), generator).to(ink.device)
    images = change_strokes(ink, strokes).unsqueeze(1)  # (B, 1, H, W)
    grid = _sampling_grid(places, frames, images)
    pixels = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False).squeeze(1)
    return pixels * (255 / pixels.amax(dim=(1, 2), keepdim=True).clamp_min(1))


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Random numbers, evenly between -1 and 1."""
    return 2 * torch.rand(shape, generator=generator) - 1


def _sample_points(count: int, strength: float, generator: torch.Generator) -> Tensor:
    """Where each pixel comes from: float32 (B, 18, 18, 2), x and y in pixels from the frame's middle."""
    middles = torch.arange(SIDE) + 0.5 - SIDE / 2
    straight = torch.stack(torch.meshgrid(middles, middles, indexing="xy"), dim=-1).view(-1, 2)  # (324, 2): x, y
    maps = random_affine_maps(count, strength, generator)  # (B, 2, 3)
    places = torch.baddbmm(maps[:, :, 2:], maps[:, :, :2], straight.T.expand(count, -1, -1))  # (B, 2, 324)
    places = places.view(count, 2, SIDE, SIDE) + _elastic_field(count, strength, generator)
    return places.permute(0, 2, 3, 1)


def random_affine_maps(count: int, strength: float, generator: torch.Generator) -> Tensor:
    """Affine maps from places in the new image to places in the old: float32 (B, 2, 3), in pixels from the middle."""
    angle, width, height, slant, right, down = strength * _uniform((6, count), generator)
    angle, width, height = MAX_ROTATION * angle, torch.exp(MAX_LOG_SCALE * width), torch.exp(MAX_LOG_SCALE * height)
    cos, sin, slant = torch.cos(angle), torch.sin(angle), MAX_SHEAR * slant
    rows = (
        (cos * width, (slant * cos - sin) * height, MAX_SHIFT * right),
        (sin * width, (slant * sin + cos) * height, MAX_SHIFT * down),
    )
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def _elastic_field(count: int, strength: float, generator: torch.Generator) -> Tensor:
    """Smooth random moves, in pixels: float32 (B, 2, 18, 18); a sum of bumps, so two small matrix products a field."""
    heights = strength * ELASTIC_STD * torch.randn((count, 2, BUMPS, BUMPS), generator=generator)
    bumps = _bumps()  # (18, BUMPS)
    return bumps @ heights @ bumps.T


def _bumps() -> Tensor:
    """How high each bump is over each pixel: float32 (18, BUMPS), the squares of a pixel's summing to 1."""
    pixels, centres = torch.arange(SIDE) + 0.5, torch.linspace(-3, SIDE + 3, BUMPS)
    heights = torch.exp(-((pixels[:, None] - centres[None, :]) ** 2) / (2 * BUMP_STD**2))
    return F.normalize(heights, dim=1)


def change_strokes(ink: Tensor, change: Tensor) -> Tensor:
    """Thicker or thinner strokes: a share of the way to the darkest or to the lightest of each pixel's neighbours.

    Args:
        ink: uint8 (B, H, W), 255 = ink.
        change: float32 (B, 1, 1), -1 (all the way to the lightest) to 1 (to the darkest).

    Returns:
        float32 (B, H, W).
    """
    lightest = 255 - _dilate(255 - ink)
    goal = torch.where(change > 0, _dilate(ink), lightest).to(torch.float32)
    images = ink.to(torch.float32)
    return images + change.abs() * (goal - images)


def _dilate(ink: Tensor) -> Tensor:
    """The darkest of each pixel and its eight neighbours: uint8 (B, H, W) to the same.

    Slices of bytes, first down and then across, take a hundredth of the time that `max_pool2d` takes for it.
    """
    rows = ink.clone()
    torch.maximum(rows[:, 1:], ink[:, :-1], out=rows[:, 1:])
    torch.maximum(rows[:, :-1], ink[:, 1:], out=rows[:, :-1])
    darkest = rows.clone()
    torch.maximum(darkest[:, :, 1:], rows[:, :, :-1], out=darkest[:, :, 1:])
    torch.maximum(darkest[:, :, :-1], rows[:, :, 1:], out=darkest[:, :, :-1])
    return darkest


def _sampling_grid(places: Tensor, frames: Tensor, images: Tensor) -> Tensor:
    """Places in the frame as `grid_sample` has them: (B, 18, 18, 2), the canvas being -1 to 1."""
    height, width = images.shape[2:]
    top, left, side = frames.unbind(dim=1)  # (B,) each
    corner = torch.stack((left, top), dim=1).view(-1, 1, 1, 2)
    extent = torch.tensor((width, height), dtype=torch.float32, device=places.device)
    in_canvas = corner + (places + SIDE / 2) * (side / SIDE).view(-1, 1, 1, 1)
    return in_canvas * (2 / extent) - 1
