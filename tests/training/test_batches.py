"""Batches repeat exactly for an epoch number, differ between epochs, and carry the teacher's logits."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from vitrine.training import Dataset
from vitrine.training.examples.batches import AugmentedBatches, CachedTeacherBatches

CPU = torch.device("cpu")


def counting(pixels: Tensor) -> Tensor:
    """A teacher that sees only the amount of ink: (B, 18, 18) to (B, 2)."""
    ink = pixels.to(torch.float32).mean(dim=(1, 2))
    return torch.stack((ink, -ink), dim=1)


def plain(dataset: Dataset, strength: float = 1.0, seed: int = 0) -> AugmentedBatches:
    return AugmentedBatches(dataset.train, strength, seed, CPU)


def teacher_batches(dataset: Dataset, folder: Path, versions: int = 2, seed: int = 0) -> CachedTeacherBatches:
    return CachedTeacherBatches(plain(dataset, seed=seed), counting, folder, versions)


def pixels_of(batches: AugmentedBatches | CachedTeacherBatches, epoch: int) -> Tensor:
    return torch.cat([batch.pixels.to(torch.float32) for batch in batches.epoch(epoch, 16)])


def images_of(batches: AugmentedBatches | CachedTeacherBatches, epoch: int) -> set[bytes]:
    return {image.numpy().tobytes() for image in pixels_of(batches, epoch)}


def test_every_epoch_has_all_examples_with_their_labels(toy: Dataset) -> None:
    seen = list(plain(toy, strength=0.0).epoch(1, 16))
    assert {len(batch.labels) for batch in seen[:-1]} == {16}
    pairs = [(p.numpy().tobytes(), int(n)) for each in seen for p, n in zip(each.pixels, each.labels, strict=True)]
    assert sorted(pairs) == sorted(
        (p.tobytes(), int(n)) for p, n in zip(toy.train.pixels, toy.train.labels, strict=True)
    )
    assert len(plain(toy)) == len(pairs)


def test_an_epoch_is_the_same_every_time_and_no_two_are_alike(toy: Dataset, tmp_path: Path) -> None:
    for batches in (plain(toy), teacher_batches(toy, tmp_path)):
        first, again, other = (pixels_of(batches, number) for number in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_versions_take_turns_in_another_order(toy: Dataset, tmp_path: Path) -> None:
    batches = teacher_batches(toy, tmp_path)
    assert images_of(batches, 1) == images_of(batches, 3) != images_of(batches, 2)
    assert not torch.equal(pixels_of(batches, 1), pixels_of(batches, 3))


def test_every_image_comes_with_the_teachers_own_logits_for_it(toy: Dataset, tmp_path: Path) -> None:
    for batch in teacher_batches(toy, tmp_path).epoch(1, 16):
        assert batch.teacher_logits is not None
        expected = counting(batch.pixels)
        torch.testing.assert_close(batch.teacher_logits, expected, rtol=1e-3, atol=1e-2)  # stored as float16


def test_a_resumed_run_sees_what_it_would_have_seen(toy: Dataset, tmp_path: Path) -> None:
    begun = teacher_batches(toy, tmp_path / "one", versions=3)
    for number in (1, 2):
        pixels_of(begun, number)
    assert torch.equal(pixels_of(begun, 3), pixels_of(teacher_batches(toy, tmp_path / "other", versions=3), 3))


def test_the_next_student_finds_the_versions_and_its_own_order(toy: Dataset, tmp_path: Path) -> None:
    first = teacher_batches(toy, tmp_path)
    images = images_of(first, 1)
    other = CachedTeacherBatches(plain(toy, seed=1), lambda _pixels: pytest.fail("it was asked again"), tmp_path, 2)
    assert images_of(other, 1) == images
    assert not torch.equal(pixels_of(first, 1), pixels_of(other, 1))


def test_damaged_versions_are_made_anew(toy: Dataset, tmp_path: Path) -> None:
    expected = pixels_of(teacher_batches(toy, tmp_path), 1)
    (tmp_path / "0.pt").write_bytes(b"damaged")
    assert torch.equal(pixels_of(teacher_batches(toy, tmp_path), 1), expected)


def test_versions_that_can_not_be_cached_cost_only_time(
    toy: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("where the folder should be")
    assert len(pixels_of(teacher_batches(toy, tmp_path / "file"), 1)) == len(toy.train)
    assert "cannot cache the teacher's logits" in caplog.text
