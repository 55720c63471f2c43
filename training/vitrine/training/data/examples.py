"""A prepared data set: pixels with labels, in a part to train on and a part to test on.

It knows no file and no image; the other modules of this folder make examples from these.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from vitrine.model import DIGITS, PIXELS_SHAPE, Shape
from vitrine.training.data.originals import Originals
from vitrine.training.errors import DataError
from vitrine.training.randomness import Stream, numpy_generator

BESIDE = ("originals", "writers", "sources", "drawings", "files")
"""What examples may have beside pixels and labels, one for each."""

UNKNOWN = -1
"""The writer of examples of which only others' writers are known."""


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Pixels and what they show."""

    pixels: npt.NDArray[np.uint8]
    """uint8 (N, height, width), 0 = white (paper), 255 = black (ink)."""
    labels: npt.NDArray[np.int64]
    """int64 (N,): the position of each example's class."""
    originals: Originals | None = None
    """The ink that the pixels were made of; None where only pixels are known."""
    writers: npt.NDArray[np.int64] | None = None
    """int64 (N,): who wrote each example, by a number, or `UNKNOWN`; None where nobody knows."""
    sources: npt.NDArray[np.str_] | None = None
    """str (N,): where each example comes from, such as `mnist` or `unipen/ibm`; None for a single source."""
    drawings: npt.NDArray[np.int64] | None = None
    """int64 (N,): the number of the drawing, from 0, where one piece of writing was drawn with several pens; None where
    every example was written by itself."""
    files: npt.NDArray[np.str_] | None = None
    """str (N,): the file of each example, relative to the data set's folder; None where examples aren't files."""

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 3:
            raise DataError(f"pixels are uint8 (N, height, width), not {self.pixels.dtype} {self.pixels.shape}")
        for name in BESIDE:
            beside = getattr(self, name)
            if beside is not None and len(beside) != len(self.pixels):
                raise DataError(f"there are {len(beside)} {name} for {len(self.pixels)} pixels")
        if self.labels.dtype != np.int64 or self.labels.shape != self.pixels.shape[:1]:
            raise DataError(f"labels are int64 ({len(self.pixels)},), not {self.labels.dtype} {self.labels.shape}")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: npt.NDArray[np.int64] | slice) -> Self:
        known = {name: beside for name in BESIDE if (beside := getattr(self, name)) is not None}
        return type(self)(
            self.pixels[chosen], self.labels[chosen], **{name: beside[chosen] for name, beside in known.items()}
        )

    def __add__(self, others: Self) -> Self:
        """Both together; only pixels, labels and, where both know them, originals and files are kept."""
        pixels, labels = (self.pixels, others.pixels), (self.labels, others.labels)
        known = self.originals is not None and others.originals is not None
        named = None if self.files is None or others.files is None else np.concatenate((self.files, others.files))
        return type(self)(
            np.concatenate(pixels),
            np.concatenate(labels),
            self.bendable + others.bendable if known else None,
            files=named,
        )

    def members(self) -> dict[str, npt.NDArray[np.int64]]:
        """The positions of the examples of each source, int64 and ascending, by its name; a single source has none."""
        if self.sources is None:
            return {"": np.arange(len(self))}
        return {str(source): np.flatnonzero(self.sources == source) for source in np.unique(self.sources)}

    @property
    def shape(self) -> Shape:
        """Height and width of the pixels."""
        return self.pixels.shape[1:]

    @property
    def bendable(self) -> Originals:
        """The images that training bends: the originals, or, where none are known, the pixels themselves."""
        return Originals.of_pixels(self.pixels) if self.originals is None else self.originals


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A data set with a fixed held-out part; it needn't have examples of every class."""

    name: str
    """Its name."""
    train: Examples
    """The examples to train on; a fit splits its validation part off these."""
    test: Examples
    """The held-out examples: evaluated once, when everything is decided."""
    classes: tuple[str, ...] = DIGITS
    """The label of every class; examples have positions in it."""
    source: str = ""
    """The name for `load_dataset`: `digits`, `mnist` or a folder; empty where a program made it."""

    def __post_init__(self) -> None:
        for part, examples in (("training", self.train), ("test", self.test)):
            if len(examples) == 0:
                raise DataError(f"{self.name} has no {part} examples")
            if not 0 <= examples.labels.min() <= examples.labels.max() < len(self.classes):
                largest = len(self.classes) - 1
                raise DataError(f"{self.name} has {part} labels outside of its classes: they are 0 to {largest}")
        if len(np.unique(self.train.labels)) < 2:
            raise DataError(f"{self.name} has training examples of one class only: add images of another")
        if self.test.shape != self.shape:
            raise DataError(f"{self.name} has training pixels of {self.shape}, and test pixels of {self.test.shape}")

    @property
    def shape(self) -> Shape:
        """Height and width of the pixels."""
        return self.train.shape

    def with_classes(self, classes: tuple[str, ...]) -> Self:
        """The same examples with their labels as positions in other classes, which include those of the data set.

        Raises:
            DataError: the data set has a class that isn't among them.
        """
        if unknown := [label for label in self.classes if label not in classes]:
            raise DataError(f"{self.name} has the class {unknown[0]!r}; the model has {', '.join(classes)}")
        position = np.array([classes.index(label) for label in self.classes], np.int64)
        train, test = (replace(part, labels=position[part.labels]) for part in (self.train, self.test))
        return replace(self, train=train, test=test, classes=classes)

    def digest(self) -> str:
        """The SHA-256 of all examples, in hex: tells whether a run goes on with the data it began with."""
        digest = hashlib.sha256()
        if (self.classes, self.shape) != (DIGITS, PIXELS_SHAPE):  # which runs of older versions didn't hash
            digest.update(repr((self.classes, self.shape)).encode())
        for part in (self.train, self.test):
            digest.update(part.pixels.tobytes())
            digest.update(part.labels.tobytes())
            digest.update(b"" if part.writers is None else part.writers.tobytes())
            digest.update(b"" if part.sources is None else "\n".join(part.sources).encode())
        return digest.hexdigest()


def split(examples: Examples, share: float, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Splits each source by its writers where those are known, and otherwise so that each class gives the same share.

    Arguments and results are those of `split_by_writer` and `stratified_split`. Of several sources, one with a single
    writer is kept whole.
    """
    sides = [_split_source(examples, members, share, seed) for members in examples.members().values()]
    kept, held_out = (np.sort(np.concatenate(side)) for side in zip(*sides, strict=True))
    return kept, held_out


def _split_source(
    examples: Examples, members: npt.NDArray[np.int64], share: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    writers = None if examples.writers is None else examples.writers[members]
    if _needs_seed(writers, alone=examples.sources is None):
        kept, held_out = stratified_split(examples.pixels[members], examples.labels[members], share, seed)
    elif writers is None or len(np.unique(writers)) < 2:
        return members, members[:0]
    else:
        kept, held_out = split_by_writer(writers, share)
    return members[kept], members[held_out]


def split_by_seed(examples: Examples) -> bool:
    """Tells whether `split` uses its seed: where writers aren't known, and then no two seeds hold out the same."""
    return _needs_seed(examples.writers, alone=examples.sources is None)


def _needs_seed(writers: npt.NDArray[np.int64] | None, *, alone: bool) -> bool:
    if writers is None or (writers == UNKNOWN).any():
        return True
    return alone and len(np.unique(writers)) < 2


def stratified_split(
    images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], share: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Splits examples so that each class gives the same share; the same seed splits alike.

    Equal images of a class stay together: no held-out image was seen in training.

    Args:
        images: uint8 (N, …).
        labels: int64 (N,).
        share: the share that is held out, 0 to 1. A class with two different images or more gives at least one of
            them and keeps at least one.
        seed: 0 or more.

    Returns:
        The positions of the kept and of the held-out examples, each int64 and ascending.
    """
    generator = numpy_generator(seed, Stream.SPLIT)
    held_out = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        copies: dict[bytes, list[int]] = {}  # the positions of each different image
        for member in generator.permutation(np.flatnonzero(labels == label)):
            copies.setdefault(images[member].tobytes(), []).append(member)
        for members in list(copies.values())[: held_out_count(len(copies), share)]:
            held_out[members] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def split_by_writer(
    writers: npt.NDArray[np.int64], share: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Splits examples by their writers, so that no writer of a held-out example was seen in training.

    The split needs no seed: runs with different seeds are compared on the same people.

    Args:
        writers: int64 (N,), at least two different ones.
        share: the share that is held out, above 0 and at most 0.5: every so many writers, by their numbers.

    Returns:
        The positions of the kept and of the held-out examples, each int64 and ascending.
    """
    held_out = np.isin(writers, np.unique(writers)[:: max(2, round(1 / share))])
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def held_out_count(members: int, share: float) -> int:
    """Number of a class's different images that are held out: about `share`; of two or more neither none nor all."""
    return min(max(1, round(share * members)), members - 1)
