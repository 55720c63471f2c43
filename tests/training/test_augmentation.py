"""Augmentation bends each image a little, differently and reproducibly."""

import pytest
import torch
from torch.nn import functional as F

from vitrine.training.examples.augmentation import MAX_SHIFT, augment, change_strokes


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def discs(count: int, side: int = 18) -> torch.Tensor:
    """Discs in the middle, a bit wider than half the side: uint8 (count, side, side)."""
    row, column = torch.meshgrid(*[torch.arange(side) + 0.5 - side / 2] * 2, indexing="ij")
    return (255 * (row**2 + column**2 < (0.28 * side) ** 2)).to(torch.uint8).repeat(count, 1, 1)


def bent(images: torch.Tensor, strength: float = 1.0, seed: int = 0) -> torch.Tensor:
    """Augmented images whose frame is the whole canvas."""
    frames = torch.tensor([0.0, 0.0, images.shape[1]]).repeat(len(images), 1)
    return augment(images, frames, strength, generator(seed))


def test_each_image_is_bent_in_its_own_way() -> None:
    assert len({image.numpy().tobytes() for image in bent(discs(50))}) == 50


def test_strength_zero_changes_nothing() -> None:
    torch.testing.assert_close(bent(discs(3), 0.0), discs(3).float(), atol=1e-3, rtol=0)


def test_a_finer_original_gives_the_same_pixels_in_one_resampling() -> None:
    fine, coarse = bent(discs(1, 36), 0.0), bent(discs(1), 0.0)
    assert (fine - coarse).abs().mean() < 6  # of 255: the disc's edge is drawn finer


def test_the_frame_says_what_of_the_original_is_seen() -> None:
    canvas = torch.zeros((1, 28, 28), dtype=torch.uint8)
    canvas[:, 3:21, 7:25] = discs(1)
    seen = augment(canvas, torch.tensor([[3.0, 7.0, 18.0]]), 0.0, generator())
    torch.testing.assert_close(seen, discs(1).float(), atol=1e-2, rtol=0)


def test_the_generator_decides_everything() -> None:
    first, again, other = (bent(discs(4), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_ink_stays_ink_and_within_range() -> None:
    images = bent(discs(200))
    assert images.shape == (200, 18, 18)
    assert 0 <= images.min() <= images.max() <= 255.001
    ink = images.sum(dim=(1, 2)) / discs(1).sum()
    assert 0.5 < ink.min() <= ink.max() < 2.0  # scaled along each axis, strokes changed
    assert abs(float(ink.mean()) - 1) < 0.06


def test_the_darkest_pixel_is_full_ink_and_an_empty_page_stays_empty() -> None:
    assert torch.allclose(bent(discs(20) // 2).amax(dim=(1, 2)), torch.tensor(255.0))
    assert bent(torch.zeros((2, 18, 18), dtype=torch.uint8)).max() == 0


def test_a_whole_image_moves_by_little_more_than_the_largest_shift() -> None:
    images = bent(discs(200))
    rows = torch.arange(18) - 8.5
    centres = (images.sum(dim=2) @ rows) / images.sum(dim=(1, 2))
    assert MAX_SHIFT / 2 < centres.abs().max() < MAX_SHIFT + 2  # the elastic field adds some of its own


def test_strokes_get_thicker_and_thinner() -> None:
    ring = (discs(200).float() - torch.nn.functional.pad(discs(200, 14).float(), (2, 2, 2, 2))).to(torch.uint8)
    ink = bent(ring).sum(dim=(1, 2)) / ring[0].sum()
    assert ink.min() < 0.8 < 1.3 < ink.max()


def test_strokes_change_towards_the_darkest_or_the_lightest_of_nine_pixels_at_the_edges_too() -> None:
    ink = torch.randint(0, 256, (6, 9, 11), generator=generator(), dtype=torch.uint8)
    change = torch.tensor([-1.0, -0.3, 0.0, 0.0, 0.3, 1.0]).view(-1, 1, 1)
    images = ink.to(torch.float32)
    darkest, lightest = F.max_pool2d(images, 3, 1, padding=1), -F.max_pool2d(-images, 3, 1, padding=1)
    expected = images + change.clamp_min(0) * (darkest - images) + change.clamp_max(0) * (images - lightest)
    assert torch.equal(change_strokes(ink, change), expected)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    bent(discs(4))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (36, 36), (4, 4), (5, 40)], ids=str)
def test_pixels_of_any_shape_are_bent_in_proportion(shape: tuple[int, int]) -> None:
    height, width = shape
    canvas = torch.zeros(40, *shape, dtype=torch.uint8)
    canvas[:, height // 4 : -(height // 4), width // 4 : -(width // 4)] = 255
    frames = torch.tensor([0.0, 0.0, float(height)]).repeat(40, 1)
    straight = augment(canvas, frames, 0.0, generator(), shape)
    torch.testing.assert_close(straight, canvas.float(), atol=1e-2, rtol=0)
    seen = augment(canvas, frames, 1.0, generator(), shape)
    assert seen.shape == (40, *shape)
    assert len({image.numpy().tobytes() for image in seen}) == 40
    overlap = (seen * canvas).sum() / (seen.norm() * canvas.float().norm())
    assert overlap > 0.8  # bent a little, as digits are
