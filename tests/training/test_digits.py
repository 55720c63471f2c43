"""The embedded data set: images as a user would have them, and a fixed split."""

import hashlib

import numpy as np
import pytest

from vitrine.model import prepare
from vitrine.training import Dataset, digit_images, held_out_digit_images, load_dataset


@pytest.fixture
def digits() -> Dataset:
    return load_dataset("digits", progress=False)


def test_its_pixels_are_as_ever_byte_for_byte() -> None:
    images, _ = digit_images()
    digest = hashlib.sha256(b"".join(prepare(image).tobytes() for image in images)).hexdigest()
    assert digest == "b55d47adfbb0ddd5536ba8f7fe2abf00613216bf8b6ab66b54fa9fe29545e517"  # as version 5542640 made them


def test_a_fifth_of_each_digit_is_held_out(digits: Dataset) -> None:
    held_out, trained = np.bincount(digits.test.labels), np.bincount(digits.train.labels)
    assert held_out.sum() + trained.sum() == 1797
    np.testing.assert_allclose(held_out / (held_out + trained), 0.2, atol=0.005)


def test_the_images_are_dark_ink_on_white_paper() -> None:
    images, labels = digit_images()
    assert images.shape == (1797, 12, 12)
    assert (images.dtype.name, labels.dtype.name) == ("uint8", "int64")
    assert images[:, :2].min() == images[:, :, -2:].min() == 255
    assert images.min(axis=(1, 2)).max() < 64  # every one has ink


def test_the_held_out_images_are_those_of_the_test_part(digits: Dataset) -> None:
    images, labels = held_out_digit_images()
    np.testing.assert_array_equal(labels, digits.test.labels)
    np.testing.assert_array_equal([prepare(image) for image in images[:50]], digits.test.pixels[:50])


def test_the_split_never_changes(digits: Dataset) -> None:
    """A model fitted yesterday must not have seen the images of today's test."""
    np.testing.assert_array_equal(digits.test.labels[:12], [4, 1, 4, 5, 3, 6, 9, 5, 6, 3, 3, 5])
