"""Data sets by name or by folder: embedded digits, MNIST, UNIPEN, or one's own images, through the same `prepare`."""

import os
from pathlib import Path

from vitrine.model import PIXELS_SHAPE, Shape
from vitrine.training.data.digits import digit_images, held_out_digit_images, load_digits_dataset
from vitrine.training.data.examples import Dataset, Examples, split, split_by_seed, stratified_split
from vitrine.training.data.folder import load_folder
from vitrine.training.data.handwriting import load_handwriting
from vitrine.training.data.mnist import Split, load_mnist, load_mnist_images
from vitrine.training.data.pen_digits import DRAWINGS, load_pen_digits
from vitrine.training.data.unipen import WrittenCharacter, is_part, load_unipen, without_repeats
from vitrine.training.lengths import check_size

__all__ = [
    "BUILT_IN",
    "DRAWINGS",
    "Dataset",
    "Examples",
    "Split",
    "WrittenCharacter",
    "digit_images",
    "held_out_digit_images",
    "is_part",
    "load_dataset",
    "load_mnist_images",
    "load_unipen",
    "split",
    "split_by_seed",
    "stratified_split",
    "without_repeats",
]

BUILT_IN = ("digits", "mnist", "unipen", "handwriting")
"""The data sets that are found by name."""


def load_dataset(
    name_or_folder: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] | None = None,
    pen_data: str | os.PathLike[str] | None = None,
    *,
    shape: Shape = PIXELS_SHAPE,
    progress: bool = True,
) -> Dataset:
    """Loads a data set, prepared; the first time it may be downloaded, and prepared pixels are kept in a cache.

    Args:
        name_or_folder: `digits` (embedded, needs no network), `mnist`, `unipen`, `handwriting` (both of these), or a
            folder of images, `LABEL/name.png`. A folder that is called like one of them is meant by `./digits`, or by
            a `Path`.
        data_dir: where MNIST's files are, for machines without a network; None takes `VITRINE_DATA_DIR`, and
            downloads them where that isn't set.
        pen_data: where UNIPEN is, a folder or an archive; None takes `data_dir`. It is never downloaded.
        shape: height and width of the pixels that every image becomes, 4 to 128 each, one at most 8 times the other.
        progress: whether to show progress bars.

    Returns:
        Training and held-out examples; the same ones every time.

    Raises:
        DataError: there is no such data set, a file of it is missing, truncated or damaged, or the shape is out of
            range.
        ImageError: an image of a folder can't be read.
    """
    check_size(shape)
    chosen = data_dir or os.environ.get("VITRINE_DATA_DIR")
    files, pen_files = Path(chosen) if chosen else None, Path(pen_data) if pen_data else None
    match name_or_folder:
        case "digits":
            return load_digits_dataset(shape, progress=progress)
        case "mnist":
            return load_mnist(files, shape, progress=progress)
        case "unipen":
            return load_pen_digits(pen_files or files, shape, progress=progress)
        case "handwriting":
            return load_handwriting(files, pen_files, shape, progress=progress)
        case folder:
            return load_folder(Path(folder), shape, progress=progress)
