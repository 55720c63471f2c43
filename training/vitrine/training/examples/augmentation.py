"""Augments training images with random distortions, so that the network generalises to other handwriting.

Each image gets its own affine map (rotation, scale along both axes, shear, shift), a smooth displacement field (elastic
distortion, P. Simard et al. 2003, doi:10.1109/ICDAR.2003.1227801), and slightly thicker or thinner strokes. The image
is resampled only once, from the original to the pixels. This module knows no labels, and draws all random numbers from
the given generator.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from vitrine.model import PIXELS_SHAPE, Shape
from vitrine.training.lengths import pixel_unit
from vitrine.training.randomness import to_device

MAX_ROTATION = math.radians(12)
"""Largest rotation in either direction at strength 1, in radians."""

MAX_LOG_SCALE = 0.12
"""Largest change of the logarithm of width and of height, drawn independently."""

MAX_SHEAR = 0.2
"""Largest shear: sideways shift of the top against the bottom, as a share of the height."""

MAX_SHIFT = 0.8
"""Largest shift along each axis, in pixels of an 18 × 18 image. Like all lengths here, it scales with the shape."""

ELASTIC_STD = 0.7
"""Standard deviation of the elastic displacement along each axis, in pixels."""

BUMP_STD = 3.0
"""Standard deviation of the elastic field's Gaussian bumps, in pixels: the distance over which neighbours move alike.
"""

BUMP_DISTANCE, BEYOND = 4, 3
"""Distance between the elastic field's bumps, and distance of the outermost from the frame, in pixels."""

MAX_STROKE_CHANGE = 0.4
"""Largest stroke change, as a share of a full dilation or erosion by one pixel of the original."""


def augment(
    ink: Tensor, frames: Tensor, strength: float, generator: torch.Generator, shape: Shape = PIXELS_SHAPE
) -> Tensor:
    """Distorts a batch of originals at random.

    Args:
        ink: uint8 (B, H, W), 0 = paper, 255 = ink, on any device.
        frames: float32 (B, 3), position of the pixels' frame over the ink: see `Originals`.
        strength: factor for the constants of this module, 0 or more.
        generator: a CPU generator, so that a seed gives the same images on every device.
        shape: height and width of the pixels.

    Returns:
        float32 (B, height, width), 0 = white (paper), 255 = black (ink); the darkest pixel of each image is 255.
    """
    places = _sample_points(len(ink), strength, generator, shape, ink.device)  # (B, height, width, 2)
    strokes = to_device(strength * MAX_STROKE_CHANGE * _uniform((len(ink), 1, 1), generator), ink.device)
    images = change_strokes(ink, strokes).unsqueeze(1)  # (B, 1, H, W)
    grid = _sampling_grid(places, frames, images)
    pixels = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False).squeeze(1)
    return pixels * (255 / pixels.amax(dim=(1, 2), keepdim=True).clamp_min(1))


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform random numbers between -1 and 1."""
    return 2 * torch.rand(shape, generator=generator) - 1


def _sample_points(
    count: int, strength: float, generator: torch.Generator, shape: Shape, device: torch.device
) -> Tensor:
    """Source position of each pixel: float32 (B, height, width, 2), x and y in pixels from the frame's centre.

    Only random numbers come from the CPU: there are five times as many positions.
    """
    down, across = (torch.arange(side, device=device) + 0.5 - side / 2 for side in shape)
    straight = torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1).view(-1, 2)  # (P, 2): x, y
    maps = to_device(random_affine_maps(count, strength, generator, pixel_unit(shape)), device)  # (B, 2, 3)
    places = torch.baddbmm(maps[:, :, 2:], maps[:, :, :2], straight.T.expand(count, -1, -1))  # (B, 2, P)
    places = places.view(count, 2, *shape) + _elastic_field(count, strength, generator, shape, device)
    return places.permute(0, 2, 3, 1)


def random_affine_maps(count: int, strength: float, generator: torch.Generator, unit: float = 1.0) -> Tensor:
    """Affine maps from new to old positions: float32 (B, 2, 3), in pixels from the centre.

    The largest shift is `MAX_SHIFT` times `unit`.
    """
    angle, width, height, slant, right, down = strength * _uniform((6, count), generator)
    angle, width, height = MAX_ROTATION * angle, torch.exp(MAX_LOG_SCALE * width), torch.exp(MAX_LOG_SCALE * height)
    cos, sin, slant = torch.cos(angle), torch.sin(angle), MAX_SHEAR * slant
    rows = (
        (cos * width, (slant * cos - sin) * height, MAX_SHIFT * unit * right),
        (sin * width, (slant * sin + cos) * height, MAX_SHIFT * unit * down),
    )
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def _elastic_field(
    count: int, strength: float, generator: torch.Generator, shape: Shape, device: torch.device
) -> Tensor:
    """Smooth random displacements in pixels: float32 (B, 2, height, width).

    The field is a sum of bumps, so each needs only two small matrix products.
    """
    unit = pixel_unit(shape)
    down, across = (_bumps(side, unit).to(device) for side in shape)  # (height, K), (width, L)
    heights = (
        strength * (ELASTIC_STD * unit) * torch.randn((count, 2, down.shape[1], across.shape[1]), generator=generator)
    )
    return down @ to_device(heights, device) @ across.T


@lru_cache(maxsize=16)
def _bumps(side: int, unit: float) -> Tensor:
    """Height of each bump at each pixel of a side: float32 (side, K), with unit L2 norm for each pixel."""
    beyond, count = BEYOND * unit, 1 + round((side / unit + 2 * BEYOND) / BUMP_DISTANCE)
    pixels, centres = torch.arange(side) + 0.5, torch.linspace(-beyond, side + beyond, count)
    heights = torch.exp(-((pixels[:, None] - centres[None, :]) ** 2) / (2 * (BUMP_STD * unit) ** 2))
    return F.normalize(heights, dim=1)


def change_strokes(ink: Tensor, change: Tensor) -> Tensor:
    """Makes strokes thicker or thinner by interpolating towards a dilated or an eroded image.

    Args:
        ink: uint8 (B, H, W), 255 = ink.
        change: float32 (B, 1, 1), from -1 (fully eroded) to 1 (fully dilated).

    Returns:
        float32 (B, H, W).
    """
    lightest = 255 - _dilate(255 - ink)
    goal = torch.where(change > 0, _dilate(ink), lightest).to(torch.float32)
    images = ink.to(torch.float32)
    return images + change.abs() * (goal - images)


def _dilate(ink: Tensor) -> Tensor:
    """Grey dilation by a 3 × 3 square: uint8 (B, H, W) to the same shape.

    Maxima of byte slices, vertical then horizontal, take a hundredth of the time of `max_pool2d`.
    """
    rows = ink.clone()
    torch.maximum(rows[:, 1:], ink[:, :-1], out=rows[:, 1:])
    torch.maximum(rows[:, :-1], ink[:, 1:], out=rows[:, :-1])
    darkest = rows.clone()
    torch.maximum(darkest[:, :, 1:], rows[:, :, :-1], out=darkest[:, :, 1:])
    torch.maximum(darkest[:, :, :-1], rows[:, :, 1:], out=darkest[:, :, :-1])
    return darkest


def _sampling_grid(places: Tensor, frames: Tensor, images: Tensor) -> Tensor:
    """Positions in the frame as a grid for `grid_sample`: (B, rows, columns, 2), with the canvas from -1 to 1."""
    height, width = images.shape[2:]
    rows, columns = places.shape[1:3]
    top, left, side = frames.unbind(dim=1)  # (B,) each
    corner = torch.stack((left, top), dim=1).view(-1, 1, 1, 2)
    extent = torch.tensor((width, height), dtype=torch.float32, device=places.device)
    middle = torch.tensor((columns / 2, rows / 2), dtype=torch.float32, device=places.device)
    in_canvas = corner + (places + middle) * (side / rows).view(-1, 1, 1, 1)
    return in_canvas * (2 / extent) - 1
