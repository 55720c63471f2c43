"""Originals keep an image's ink as fine as it was, and know where the frame of pixels lies."""

import numpy as np

from vitrine.model.preparation.pipeline import crop, find_frame, pixels_of
from vitrine.training.data.originals import CANVAS, LARGEST, Originals


def box(height: int, width: int) -> np.ndarray:
    """A box of ink, darker to the right: uint8 (height, width), without white."""
    return np.tile(np.linspace(50, 255, width).astype(np.uint8), (height, 1))


def test_a_box_that_fits_lies_on_the_canvas_as_it_is() -> None:
    original = Originals.of_boxes([box(20, 14)])
    ink = original.ink[0]
    assert ink.shape == (CANVAS, CANVAS)
    np.testing.assert_array_equal(crop(ink), box(20, 14))


def test_the_frame_lies_around_the_box_as_preparation_has_it() -> None:
    drawn = box(20, 14)
    top, left, side, _ = find_frame(drawn)
    np.testing.assert_allclose(Originals.of_boxes([drawn]).frames[0], (4 + top, 7 + left, side))


def test_larger_and_much_smaller_boxes_are_scaled_to_one_size() -> None:
    for drawn in (box(120, 60), box(6, 3)):
        ink = Originals.of_boxes([drawn]).ink[0]
        rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
        assert (len(rows), len(columns)) == (LARGEST, LARGEST // 2)


def test_pixels_are_their_own_originals() -> None:
    pixels = np.stack([pixels_of(box(20, 14))])
    original = Originals.of_pixels(pixels)
    np.testing.assert_array_equal(original.ink, pixels)
    assert original.frames.tolist() == [[0, 0, 18]]


def test_no_boxes_give_no_originals() -> None:
    assert Originals.of_boxes([]).ink.shape == (0, CANVAS, CANVAS)
    assert len(Originals.of_boxes([])) == 0


def test_an_empty_page_has_an_original_too() -> None:
    assert not Originals.of_boxes([np.zeros((30, 40), np.uint8)]).ink.any()
