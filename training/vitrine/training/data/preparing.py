"""Prepares many images on all processors; their number changes no pixel.

It knows no data set and no cache.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from vitrine.model import PIXELS_SHAPE, ImageError, ImageSource, Shape, read_grey
from vitrine.model.preparation.photo import Ink
from vitrine.model.preparation.pipeline import find_box, pixels_of
from vitrine.training.data.originals import Originals
from vitrine.training.errors import BrokenImagesError, TrainingError

CHUNK_SIZE = 250
"""Images that a process prepares at a time."""

FEWEST = 2000
"""Fewer images are prepared by the calling process alone, which takes less time than starting others."""


class Images(Protocol):
    """Images by their positions, such as a list, an array or `Drawn`."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> ImageSource: ...


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Images, prepared."""

    pixels: npt.NDArray[np.uint8]
    """uint8 (N, height, width), 0 = white (paper), 255 = black (ink), from `prepare`."""
    originals: Originals
    """The same before it became pixels."""


_Chunk: TypeAlias = tuple[Prepared, list[ImageError]]
"""Some images, prepared, and the errors of the others."""


def prepare_each(
    images: Images, shape: Shape = PIXELS_SHAPE, *, bar: "tqdm[Any]", processes: int | None = None
) -> Prepared:
    """Prepares images, each by itself.

    Args:
        images: images that `prepare` takes.
        shape: height and width of the pixels.
        bar: progress bar, advanced by each image.
        processes: number of processes, at least 1; None takes one for each processor where that saves time.

    Raises:
        BrokenImagesError: images can't be turned into pixels; it has a text for each.
        TrainingError: a process ended before its images were prepared.
    """
    chunks = [range(first, min(first + CHUNK_SIZE, len(images))) for first in range(0, len(images), CHUNK_SIZE)]
    parts: list[Prepared] = []
    problems: list[ImageError] = []
    with _prepared_chunks(_Preparation(images, shape), chunks, processes or _useful_processes(len(images))) as found:
        for chunk, (part, errors) in zip(chunks, found, strict=True):
            parts.append(part)
            problems += errors
            bar.update(len(chunk))
    if problems:
        raise BrokenImagesError.of(problems[0].reason, [str(error) for error in problems]) from problems[0]
    return _joined(parts, shape)


@dataclass(frozen=True, slots=True, eq=False)
class _Preparation:
    """The preparation of images by their positions."""

    images: Images
    shape: Shape

    def __call__(self, positions: range) -> _Chunk:
        boxes: list[Ink] = []
        pixels: list[npt.NDArray[np.uint8]] = []
        problems: list[ImageError] = []
        for position in positions:
            try:
                box = find_box(read_grey(self.images[position]))
                pixels.append(pixels_of(box, self.shape))
                boxes.append(box)
            except ImageError as error:
                problems.append(error)
        return Prepared(_stacked(pixels, self.shape), Originals.of_boxes(boxes, self.shape)), problems


def _useful_processes(images: int) -> int:
    """One process for each processor, where processes can be forked and there are enough images.

    A forked process needs no guarded `__main__`, and has the images without a copy. Linux alone forks safely. A process
    of a pool may not start others.
    """
    forks = sys.platform == "linux" and not multiprocessing.current_process().daemon
    return len(os.sched_getaffinity(0)) if forks and images >= FEWEST else 1


@contextmanager
def _prepared_chunks(prepare: _Preparation, chunks: Sequence[range], processes: int) -> Iterator[Iterator[_Chunk]]:
    """The prepared chunks in their order, from one process or several."""
    if processes == 1:
        yield map(prepare, chunks)
        return
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), _begin, (prepare,))
    try:
        yield pool.map(_prepare_chunk, chunks)
    except BrokenProcessPool as error:
        raise TrainingError("a process that prepared images was ended: is the memory sufficient?") from error
    finally:  # after Ctrl-C or an error, the processes stop after their current chunk
        _stop(pool)


def _stop(pool: Executor) -> None:
    pool.shutdown(wait=False, cancel_futures=True)


_inherited: list[_Preparation] = []
"""The preparation of a forked process, which has it without a copy."""


def _begin(prepare: _Preparation) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the first one decides
    _inherited.append(prepare)


def _prepare_chunk(positions: range) -> _Chunk:
    return _inherited[0](positions)


def _stacked(pixels: list[npt.NDArray[np.uint8]], shape: Shape) -> npt.NDArray[np.uint8]:
    return np.stack(pixels) if pixels else np.empty((0, *shape), np.uint8)


def _joined(parts: list[Prepared], shape: Shape) -> Prepared:
    parts = parts or [Prepared(_stacked([], shape), Originals.of_boxes([], shape))]
    ink = np.concatenate([part.originals.ink for part in parts])
    frames = np.concatenate([part.originals.frames for part in parts])
    return Prepared(np.concatenate([part.pixels for part in parts]), Originals(ink, frames))
