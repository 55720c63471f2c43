"""Lessons are the same for an epoch every time, differ between epochs, and carry the teacher's judgement."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from vitrine.training import Dataset
from vitrine.training.examples.batches import JudgedLessons, Lessons

CPU = torch.device("cpu")


def counting(pixels: Tensor) -> Tensor:
    """A teacher who only sees how much ink there is: (B, 18, 18) to (B, 2)."""
    ink = pixels.to(torch.float32).mean(dim=(1, 2))
    return torch.stack((ink, -ink), dim=1)


def plain(dataset: Dataset, strength: float = 1.0, seed: int = 0) -> Lessons:
    return Lessons(dataset.train, strength, seed, CPU)


def judged(dataset: Dataset, folder: Path, versions: int = 2, seed: int = 0) -> JudgedLessons:
    return JudgedLessons(plain(dataset, seed=seed), counting, folder, versions)


def pixels_of(lessons: Lessons | JudgedLessons, epoch: int) -> Tensor:
    return torch.cat([lesson.pixels.to(torch.float32) for lesson in lessons.epoch(epoch, 16)])


def images_of(lessons: Lessons | JudgedLessons, epoch: int) -> set[bytes]:
    return {image.numpy().tobytes() for image in pixels_of(lessons, epoch)}


def test_every_epoch_has_all_examples_with_their_labels(toy: Dataset) -> None:
    seen = list(plain(toy, strength=0.0).epoch(1, 16))
    assert {len(lesson.labels) for lesson in seen[:-1]} == {16}
    pairs = [(p.numpy().tobytes(), int(n)) for each in seen for p, n in zip(each.pixels, each.labels, strict=True)]
    assert sorted(pairs) == sorted(
        (p.tobytes(), int(n)) for p, n in zip(toy.train.pixels, toy.train.labels, strict=True)
    )
    assert len(plain(toy)) == len(pairs)


def test_an_epoch_is_the_same_every_time_and_no_two_are_alike(toy: Dataset, tmp_path: Path) -> None:
    for lessons in (plain(toy), judged(toy, tmp_path)):
        first, again, other = (pixels_of(lessons, number) for number in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_versions_take_turns_in_another_order(toy: Dataset, tmp_path: Path) -> None:
    lessons = judged(toy, tmp_path)
    assert images_of(lessons, 1) == images_of(lessons, 3) != images_of(lessons, 2)
    assert not torch.equal(pixels_of(lessons, 1), pixels_of(lessons, 3))


def test_every_image_comes_with_the_teachers_own_judgement_of_it(toy: Dataset, tmp_path: Path) -> None:
    for lesson in judged(toy, tmp_path).epoch(1, 16):
        assert lesson.judgement is not None
        torch.testing.assert_close(lesson.judgement, counting(lesson.pixels), rtol=1e-3, atol=1e-2)  # kept as float16


def test_a_resumed_run_sees_what_it_would_have_seen(toy: Dataset, tmp_path: Path) -> None:
    begun = judged(toy, tmp_path / "one", versions=3)
    for number in (1, 2):
        pixels_of(begun, number)
    assert torch.equal(pixels_of(begun, 3), pixels_of(judged(toy, tmp_path / "other", versions=3), 3))


def test_the_next_pupil_finds_the_versions_and_its_own_order(toy: Dataset, tmp_path: Path) -> None:
    first = judged(toy, tmp_path)
    images = images_of(first, 1)
    other = JudgedLessons(plain(toy, seed=1), lambda _pixels: pytest.fail("it was asked again"), tmp_path, 2)
    assert images_of(other, 1) == images
    assert not torch.equal(pixels_of(first, 1), pixels_of(other, 1))


def test_damaged_versions_are_made_anew(toy: Dataset, tmp_path: Path) -> None:
    expected = pixels_of(judged(toy, tmp_path), 1)
    (tmp_path / "0.pt").write_bytes(b"damaged")
    assert torch.equal(pixels_of(judged(toy, tmp_path), 1), expected)


def test_versions_that_can_not_be_kept_cost_only_time(
    toy: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("where the folder should be")
    assert len(pixels_of(judged(toy, tmp_path / "file"), 1)) == len(toy.train)
    assert "can't be kept" in caplog.text
