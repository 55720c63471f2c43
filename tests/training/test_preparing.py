"""Many images are prepared by several processes, with the same result as by one."""

import os
from collections.abc import Callable

import numpy as np
import pytest
from tqdm import tqdm

from vitrine.model import ImageError, prepare
from vitrine.training import TrainingError
from vitrine.training.data import preparing
from vitrine.training.data.preparing import CHUNK_SIZE, FEWEST, Prepared, prepare_each
from vitrine.training.drawn import Drawn

Draw = Callable[[int, int], np.ndarray]


def prepared(images: Drawn[np.ndarray], processes: int | None = None) -> tuple[Prepared, int]:
    with tqdm(total=len(images), disable=True) as bar:
        counted: list[int] = []
        bar.update = counted.append  # type: ignore[method-assign, assignment]
        return prepare_each(images, bar=bar, processes=processes), sum(counted)


@pytest.fixture
def images(draw: Draw) -> Drawn[np.ndarray]:
    """More than a chunk for each of two processes."""
    few = [draw(label, number) for label in range(10) for number in range(2)]
    return Drawn(2 * CHUNK_SIZE + 7, lambda position: few[position % len(few)] + np.uint8(position % 3))


def test_processes_change_no_pixel(images: Drawn[np.ndarray]) -> None:
    (alone, _), (together, counted) = prepared(images, 1), prepared(images, 2)
    for ours, theirs in (
        (alone.pixels, together.pixels),
        (alone.originals.ink, together.originals.ink),
        (alone.originals.frames, together.originals.frames),
    ):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(together.pixels[:20], [prepare(images[position]) for position in range(20)])
    assert counted == len(images)


def test_few_images_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1, 2})
    assert [preparing._useful_processes(count) for count in (0, FEWEST - 1, FEWEST)] == [1, 1, 3]
    monkeypatch.setattr("sys.platform", "darwin")
    assert preparing._useful_processes(FEWEST) == 1


def test_no_images_are_prepared_too() -> None:
    nothing, _ = prepared(Drawn(0, lambda _position: np.zeros((9, 9), np.uint8)))
    assert (nothing.pixels.shape, len(nothing.originals)) == ((0, 18, 18), 0)


@pytest.mark.parametrize("processes", [1, 2])
def test_images_that_are_none_are_listed_in_their_order(images: Drawn[np.ndarray], processes: int) -> None:
    def draw(position: int) -> np.ndarray:
        return np.zeros((2, 2, 2, 2), np.uint8) if position % 100 == 99 else images[position]

    with pytest.raises(ImageError) as alone:
        prepared(Drawn(300, draw), processes)
    assert str(alone.value).count(";") == 2


def test_a_process_that_is_killed_ends_the_preparation_with_a_sentence(images: Drawn[np.ndarray]) -> None:
    parent = os.getpid()

    def draw(position: int) -> np.ndarray:
        if position == CHUNK_SIZE and os.getpid() != parent:
            os._exit(9)
        return images[position]

    with pytest.raises(TrainingError, match="a process that prepared images was ended"):
        prepared(Drawn(len(images), draw), 2)
