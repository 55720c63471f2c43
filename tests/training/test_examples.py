"""Examples and data sets that a program makes are checked; the split is stratified and repeatable."""

import numpy as np
import pytest

from vitrine.training import DataError, Dataset, Examples
from vitrine.training.data import stratified_split


def blank(*labels: int) -> Examples:
    return Examples(np.zeros((len(labels), 18, 18), np.uint8), np.array(labels, np.int64))


def different(count: int) -> np.ndarray:
    """Images of one pixel each, no two alike: uint8 (count, 1)."""
    return np.arange(count, dtype=np.uint8)[:, np.newaxis]


def test_pixels_of_another_shape_or_type_are_refused() -> None:
    labels = np.zeros(2, np.int64)
    for pixels in (np.zeros((2, 324), np.uint8), np.zeros((2, 18, 18), np.float32)):
        with pytest.raises(DataError, match=r"pixels are uint8 \(N, height, width\)"):
            Examples(pixels, labels)  # type: ignore[arg-type]


def test_labels_of_another_number_or_type_are_refused() -> None:
    pixels = np.zeros((2, 18, 18), np.uint8)
    for labels in (np.zeros(3, np.int64), np.zeros(2, np.int32)):
        with pytest.raises(DataError, match=r"labels are int64 \(2,\)"):
            Examples(pixels, labels)  # type: ignore[arg-type]


def test_a_data_set_with_nothing_to_learn_is_refused() -> None:
    with pytest.raises(DataError, match="training examples of one class only"):
        Dataset("one", blank(7, 7), blank(7))
    with pytest.raises(DataError, match="has no test examples"):
        Dataset("untested", blank(0, 1), blank())


@pytest.mark.parametrize("label", [-1, 10])
def test_a_label_outside_of_the_classes_is_refused(label: int) -> None:
    with pytest.raises(DataError, match="labels outside of its classes: they are 0 to 9"):
        Dataset("stray", blank(0, label), blank(0, 1))


def test_parts_of_two_shapes_are_refused() -> None:
    other = Examples(np.zeros((2, 12, 20), np.uint8), np.array([0, 1]))
    with pytest.raises(DataError, match=r"training pixels of \(18, 18\), and test pixels of \(12, 20\)"):
        Dataset("two", blank(0, 1), other)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_each_class_gives_the_same_share(share: float) -> None:
    labels = np.repeat(np.arange(3), (20, 40, 100))
    kept, held_out = stratified_split(different(len(labels)), labels, share, seed=0)
    np.testing.assert_array_equal(np.sort(np.concatenate((kept, held_out))), np.arange(160))
    np.testing.assert_array_equal(np.bincount(labels[held_out]), [20 * share, 40 * share, 100 * share])


def test_a_small_class_is_on_both_sides_and_a_single_example_is_trained_on() -> None:
    kept, held_out = stratified_split(different(3), np.array([0, 0, 1]), 0.9, seed=0)
    assert len(held_out) == 1
    assert 2 in kept


def test_equal_images_are_on_one_side() -> None:
    images = np.repeat(different(10), 4, axis=0)
    kept, held_out = stratified_split(images, np.zeros(40, np.int64), 0.3, seed=0)
    assert len(held_out) == 3 * 4
    assert not np.intersect1d(images[kept], images[held_out]).size


def test_the_seed_decides_the_split() -> None:
    labels = np.zeros(100, np.int64)
    first, again, other = (stratified_split(different(100), labels, 0.3, seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again != other
