"""The embedded data set: 1,797 handwritten digits of 13 people, which scikit-learn carries inside its wheel.

They are the test part of E. Alpaydin and C. Kaynak's "Optical Recognition of Handwritten Digits" (UCI, 1998,
doi:10.24432/C50P49), 8 × 8 with 17 grey levels. Who wrote what isn't known, so the held-out part has the same writers.
"""

import hashlib

import numpy as np
import numpy.typing as npt

from vitrine.model import PIXELS_SHAPE, Shape
from vitrine.training.data.cache import prepare_all
from vitrine.training.data.examples import Dataset, Examples, stratified_split

TEST_SHARE = 0.2
"""The share that is held out."""

SPLIT_SEED = 0
"""The split is part of the data set: it is the same for every run."""

MARGIN = 2
"""White pixels around each 8 × 8 image, so that its frame is paper, as in a photo or a scan."""

INK_LEVELS = 16
"""The largest value in the source: full ink."""


def load_digits_dataset(shape: Shape = PIXELS_SHAPE, *, progress: bool = True) -> Dataset:
    """The embedded digits, prepared, 20 % held out."""
    images, labels = digit_images()
    digest = hashlib.sha256(images.tobytes()).hexdigest()
    prepared = prepare_all(images, digest, "digits", shape, progress=progress)
    examples = Examples(prepared.pixels, labels, prepared.originals)
    kept, held_out = stratified_split(images, labels, TEST_SHARE, SPLIT_SEED)
    return Dataset("digits", examples[kept], examples[held_out], source="digits")


def digit_images() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Every digit as a user would have it: a grey image of dark ink on white paper, before `prepare`.

    Returns:
        uint8 (1797, 12, 12), 0 = black and 255 = white, and the labels, int64 (1797,).
    """
    from sklearn.datasets import load_digits  # here, because it takes a second and only this data set needs it

    bunch = load_digits()
    ink = np.rint(bunch.images * (255 / INK_LEVELS)).astype(np.uint8)  # (1797, 8, 8)
    margins = ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN))
    return np.pad(255 - ink, margins, constant_values=255), bunch.target.astype(np.int64)


def held_out_digit_images() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The images of the held-out part, in the order of the data set's `test`: what no training has seen.

    Returns:
        uint8 (M, 12, 12), 0 = black and 255 = white, and the labels, int64 (M,).
    """
    images, labels = digit_images()
    _, held_out = stratified_split(images, labels, TEST_SHARE, SPLIT_SEED)
    return images[held_out], labels[held_out]
