"""Prepared pixels are kept, and never served stale or damaged."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vitrine.model import prepare
from vitrine.model.preparation.pipeline import pixels_of
from vitrine.training.data import cache as cache_module
from vitrine.training.data import preparing
from vitrine.training.data.cache import cache_dir, prepare_all
from vitrine.training.drawn import Drawn
from vitrine.training.examples.augmentation import augment

Draw = Callable[[int, int], np.ndarray]


@pytest.fixture
def images(draw: Draw) -> np.ndarray:
    return np.stack([draw(label, number) for label in range(3) for number in range(2)])


def prepared(images: np.ndarray, digest: str = "abc") -> np.ndarray:
    return prepare_all(images, digest, "toy", progress=False).pixels


def unread(_position: int) -> np.ndarray:
    pytest.fail("an image was read")


def cached_files(cache: Path) -> list[Path]:
    return sorted((cache / "pixels").iterdir())


@pytest.fixture
def no_preparing(images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fills the cache; from here on, preparing anything fails."""
    prepared(images)
    monkeypatch.setattr(cache_module, "prepare_each", lambda *_images, **_options: pytest.fail("it was prepared again"))


def test_pixels_are_what_prepare_makes(images: np.ndarray) -> None:
    np.testing.assert_array_equal(prepared(images), [prepare(image) for image in images])


def test_originals_that_are_not_bent_are_the_pixels_nearly(images: np.ndarray) -> None:
    made = prepare_all(images, "abc", "toy", progress=False)
    again = prepare_all(images, "abc", "toy", progress=False)
    ink, frames = torch.tensor(again.originals.ink), torch.tensor(again.originals.frames)
    straight = augment(ink, frames, 0.0, torch.Generator()).numpy()
    assert np.abs(straight - made.pixels).mean() < 6  # of 255: two ways to resample


@pytest.mark.usefixtures("no_preparing")
def test_what_was_prepared_once_is_not_prepared_again(images: np.ndarray) -> None:
    assert prepared(images).shape == (6, 18, 18)


def test_another_size_gets_pixels_of_its_own(images: np.ndarray, cache: Path) -> None:
    square = prepared(images)
    wide = prepare_all(images, "abc", "toy", (12, 20), progress=False)
    assert (square.shape, wide.pixels.shape) == ((6, 18, 18), (6, 12, 20))
    assert len(cached_files(cache)) == 2
    again = prepare_all(Drawn(len(images), unread), "abc", "toy", (12, 20), progress=False)
    np.testing.assert_array_equal(again.pixels, wide.pixels)
    straight = augment(
        torch.tensor(again.originals.ink), torch.tensor(again.originals.frames), 0.0, torch.Generator(), (12, 20)
    )
    assert np.abs(straight.numpy() - wide.pixels).mean() < 6


def test_other_images_get_other_pixels(images: np.ndarray, cache: Path) -> None:
    prepared(images)
    np.testing.assert_array_equal(prepared(images[::-1], "def"), prepared(images)[::-1])
    assert len(cached_files(cache)) == 2


def test_a_changed_preparation_is_never_served_stale(
    images: np.ndarray, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = prepared(images)
    changed = tmp_path / "preparation.py"
    others = [path for path in cache_module.PREPARATION_CODE if path.name != "pipeline.py"]
    (pipeline,) = set(cache_module.PREPARATION_CODE) - set(others)
    changed.write_text(pipeline.read_text().replace("FRAME_SIZE = 18 / 16", "FRAME_SIZE = 18 / 15"))
    assert changed.read_text() != pipeline.read_text()
    monkeypatch.setattr(cache_module, "PREPARATION_CODE", (*others, changed))
    monkeypatch.setattr(preparing, "pixels_of", lambda box, shape: 255 - pixels_of(box, shape))
    np.testing.assert_array_equal(prepared(images), 255 - before)
    assert len(cached_files(cache)) == 2


FLAGS, METHOD = 8, 10
"""Offsets in an entry of a zip archive's directory that say how it was written."""


def in_directory(archive: bytes, offset: int, value: int) -> bytes:
    """The archive with one byte of its first directory entry changed."""
    position = archive.index(b"PK\x01\x02") + offset
    return archive[:position] + bytes((value,)) + archive[position + 1 :]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "text", "empty", "encrypted", "unknown compression"])
def test_a_damaged_file_is_made_anew(
    images: np.ndarray, cache: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = prepared(images)
    (file,) = cached_files(cache)
    whole = file.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes((whole[middle] ^ 0xFF,)) + whole[middle + 1 :]
    file.write_bytes(
        {
            "truncated": whole[:middle],
            "flipped": flipped,
            "text": b"no archive",
            "empty": b"",
            "encrypted": in_directory(whole, FLAGS, 1),
            "unknown compression": in_directory(whole, METHOD, 99),
        }[damage]
    )
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(prepared(images), before)
    assert str(file) in caplog.text
    caplog.clear()
    prepared(images)
    assert not caplog.text  # it was mended


def test_a_file_that_would_execute_code_is_made_anew(images: np.ndarray, cache: Path) -> None:
    before = prepared(images)
    (file,) = cached_files(cache)
    np.savez(file, pixels=np.array([print], dtype=object))
    np.testing.assert_array_equal(prepared(images), before)


def test_a_cache_that_can_not_be_written_costs_only_time(
    images: np.ndarray, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.write_text("a file where the folder should be")
    assert prepared(images).shape == (6, 18, 18)
    assert "can't be kept" in caplog.text


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_CACHE_DIR", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    monkeypatch.setenv("HOME", "/c")
    assert cache_dir() == Path("/a")
    monkeypatch.delenv("VITRINE_CACHE_DIR")
    assert cache_dir() == Path("/b/vitrine")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path("/c/.cache/vitrine")
