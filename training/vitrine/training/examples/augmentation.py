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

from vitrine.model import PIXELS_SHAPE, Shape
from vitrine.training.lengths import pixel_unit

ROTATION = math.radians(12)
"""The largest angle, either way, at strength 1."""

SCALE = 0.12
"""The largest change of the logarithm of width and of height, each on its own."""

SHEAR = 0.2
"""The largest slant: how far the top moves sideways against the bottom, as a share of the height."""

SHIFT = 0.8
"""The largest move along each axis, in pixels of 18 × 18; other shapes have it in proportion, as all lengths here."""

ELASTIC = 0.7
"""How far a place moves by the elastic field: the standard deviation along each axis, in pixels."""

SMOOTHNESS = 3.0
"""Over how many pixels neighbours move alike: the standard deviation of the field's bumps."""

BUMP_DISTANCE, BEYOND = 4, 3
"""The distance of the elastic field's bumps along each axis, and their reach beyond the frame, in pixels."""

STROKE = 0.4
"""The largest change of a stroke, as a share of the way to one that is a pixel of the original wider on either side."""


def augment(
    ink: Tensor, frames: Tensor, strength: float, generator: torch.Generator, shape: Shape = PIXELS_SHAPE
) -> Tensor:
    """Random bends of a batch of originals.

    Args:
        ink: uint8 (B, H, W), 0 = paper, 255 = ink, on any device.
        frames: float32 (B, 3), the place of the pixels' frame over the ink: see `Originals`.
        strength: the factor of the constants of this module, 0 or more.
        generator: on the CPU, so that a seed means the same on every device.
        shape: height and width of the pixels.

    Returns:
        float32 (B, height, width), 0 = white (paper), 255 = black (ink), the darkest pixel of each image 255.
    """
    places = _bent_places(len(ink), strength, generator, shape).to(ink.device)  # (B, height, width, 2)
    strokes = strength * STROKE * _spread((len(ink), 1, 1), generator).to(ink.device)
    images = with_strokes(ink, strokes).unsqueeze(1)  # (B, 1, H, W)
    grid = _on_grid(places, frames, images)
    pixels = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False).squeeze(1)
    return pixels * (255 / pixels.amax(dim=(1, 2), keepdim=True).clamp_min(1))


def _spread(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Random numbers, evenly between -1 and 1."""
    return 2 * torch.rand(shape, generator=generator) - 1


def _bent_places(count: int, strength: float, generator: torch.Generator, shape: Shape) -> Tensor:
    """The source of each pixel: float32 (B, height, width, 2), x and y in pixels from the frame's middle."""
    down, across = (torch.arange(side) + 0.5 - side / 2 for side in shape)
    straight = torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1).view(-1, 2)  # (P, 2): x, y
    maps = random_maps(count, strength, generator, pixel_unit(shape))  # (B, 2, 3)
    places = torch.baddbmm(maps[:, :, 2:], maps[:, :, :2], straight.T.expand(count, -1, -1))  # (B, 2, P)
    places = places.view(count, 2, *shape) + _elastic_field(count, strength, generator, shape)
    return places.permute(0, 2, 3, 1)


def random_maps(count: int, strength: float, generator: torch.Generator, unit: float = 1.0) -> Tensor:
    """Affine maps from places in the new image to places in the old: float32 (B, 2, 3), in pixels from the middle.

    The largest shift is `SHIFT` times `unit`.
    """
    angle, width, height, slant, right, down = strength * _spread((6, count), generator)
    angle, width, height = ROTATION * angle, torch.exp(SCALE * width), torch.exp(SCALE * height)
    cos, sin, slant = torch.cos(angle), torch.sin(angle), SHEAR * slant
    rows = (
        (cos * width, (slant * cos - sin) * height, SHIFT * unit * right),
        (sin * width, (slant * sin + cos) * height, SHIFT * unit * down),
    )
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def _elastic_field(count: int, strength: float, generator: torch.Generator, shape: Shape) -> Tensor:
    """Smooth random moves, in pixels: float32 (B, 2, height, width); a sum of bumps, by two small matrix products."""
    unit = pixel_unit(shape)
    down, across = (_bumps(side, unit) for side in shape)  # (height, K), (width, L)
    heights = strength * (ELASTIC * unit) * torch.randn((count, 2, down.shape[1], across.shape[1]), generator=generator)
    return down @ heights @ across.T


def _bumps(side: int, unit: float) -> Tensor:
    """The height of each bump over each pixel of a side: float32 (side, K); a pixel's squares sum to 1."""
    beyond, count = BEYOND * unit, 1 + round((side / unit + 2 * BEYOND) / BUMP_DISTANCE)
    pixels, centres = torch.arange(side) + 0.5, torch.linspace(-beyond, side + beyond, count)
    heights = torch.exp(-((pixels[:, None] - centres[None, :]) ** 2) / (2 * (SMOOTHNESS * unit) ** 2))
    return F.normalize(heights, dim=1)


def with_strokes(ink: Tensor, change: Tensor) -> Tensor:
    """Thicker or thinner strokes: a share of the way to the darkest or to the lightest of each pixel's neighbours.

    Args:
        ink: uint8 (B, H, W), 255 = ink.
        change: float32 (B, 1, 1), -1 (all the way to the lightest) to 1 (to the darkest).

    Returns:
        float32 (B, H, W).
    """
    lightest = 255 - _darkest_nearby(255 - ink)
    goal = torch.where(change > 0, _darkest_nearby(ink), lightest).to(torch.float32)
    images = ink.to(torch.float32)
    return images + change.abs() * (goal - images)


def _darkest_nearby(ink: Tensor) -> Tensor:
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


def _on_grid(places: Tensor, frames: Tensor, images: Tensor) -> Tensor:
    """Places in the frame as `grid_sample` has them: (B, rows, columns, 2), the canvas being -1 to 1."""
    height, width = images.shape[2:]
    rows, columns = places.shape[1:3]
    top, left, side = frames.unbind(dim=1)  # (B,) each
    corner = torch.stack((left, top), dim=1).view(-1, 1, 1, 2)
    extent = torch.tensor((width, height), dtype=torch.float32, device=places.device)
    middle = torch.tensor((columns / 2, rows / 2), dtype=torch.float32, device=places.device)
    in_canvas = corner + (places + middle) * (side / rows).view(-1, 1, 1, 1)
    return in_canvas * (2 / extent) - 1
