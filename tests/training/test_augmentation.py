"""Augmentation bends images a little, differently each, and repeatably."""

import torch

from vitrine.training.augmentation import augment


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def discs(count: int) -> torch.Tensor:
    """A disc of radius 5 in the middle: uint8 (count, 18, 18)."""
    row, column = torch.meshgrid(torch.arange(18) - 8.5, torch.arange(18) - 8.5, indexing="ij")
    return (255 * (row**2 + column**2 < 25)).to(torch.uint8).repeat(count, 1, 1)


def test_each_image_is_bent_in_its_own_way() -> None:
    bent = augment(discs(50), 1.0, generator())
    assert len({image.numpy().tobytes() for image in bent}) == 50


def test_strength_zero_changes_nothing() -> None:
    torch.testing.assert_close(augment(discs(3), 0.0, generator()), discs(3).float(), atol=1e-3, rtol=0)


def test_the_generator_decides_everything() -> None:
    first, again, other = (augment(discs(4), 1.0, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_ink_stays_ink_and_within_range() -> None:
    bent = augment(discs(200), 1.0, generator())
    assert bent.shape == (200, 18, 18)
    assert 0 <= bent.min() <= bent.max() <= 255.001
    ink = bent.sum(dim=(1, 2)) / discs(1).sum()
    assert 0.7 < ink.min() <= ink.max() < 1.4  # scaled by up to 12 % along each axis
    assert abs(float(ink.mean()) - 1) < 0.02


def test_shifts_stay_within_a_pixel_or_so() -> None:
    bent = augment(discs(200), 1.0, generator())
    rows = torch.arange(18) - 8.5
    centres = (bent.sum(dim=2) @ rows) / bent.sum(dim=(1, 2))
    assert 0.8 < centres.abs().max() < 1.3


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    augment(discs(4), 1.0, generator())
    assert torch.equal(before, torch.get_rng_state())
