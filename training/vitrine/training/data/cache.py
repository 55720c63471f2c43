"""Prepares images, and keeps pixels and originals, so that a data set is prepared once.

A cached file is found by a key of two digests: one of the images, one of the code that prepares them. When either
changes, the key does, and nothing stale is ever served. It knows no data set.
"""

import hashlib
import logging
import os
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL
from tqdm import tqdm

from vitrine.model import PIXELS_SHAPE, ImageError, ImageSource, Shape, read_grey
from vitrine.model.preparation import blobs, crops, enclosures, image, paper, pen, photo, pipeline, surroundings
from vitrine.model.preparation.photo import Ink
from vitrine.model.preparation.pipeline import find_box, pixels_of
from vitrine.training import lengths
from vitrine.training.data import originals
from vitrine.training.data.originals import Originals, canvas_side
from vitrine.training.errors import MOST_LISTED, list_problems
from vitrine.training.files.atomic import atomic_file

PREPARATION_CODE = tuple(
    Path(str(module.__file__))
    for module in (
        *(blobs, crops, enclosures, image, lengths, originals, paper, pen, photo, pipeline),
        surroundings,
    )
)
"""The files that decide how an image becomes pixels, with their constants."""

DAMAGES = (OSError, ValueError, KeyError, EOFError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""Errors of reading a damaged archive; a flag or method that zipfile doesn't know is a RuntimeError."""

_log = logging.getLogger(__name__)


def cache_dir() -> Path:
    """Folder of downloads and prepared pixels: `VITRINE_CACHE_DIR`, else `vitrine` in the user's cache folder."""
    if chosen := os.environ.get("VITRINE_CACHE_DIR"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vitrine"


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Images, prepared."""

    pixels: npt.NDArray[np.uint8]
    """uint8 (N, height, width), 0 = white (paper), 255 = black (ink), from `prepare`."""
    originals: Originals
    """The same before it became pixels."""


def prepare_all(
    images: Iterable[ImageSource],
    count: int,
    digest: str,
    name: str,
    shape: Shape = PIXELS_SHAPE,
    *,
    progress: bool = True,
) -> Prepared:
    """The pixels and originals of many images, from the cache where they are in it.

    Args:
        images: what `prepare` takes; it is read only when they aren't in the cache.
        count: the number of images.
        digest: a digest of the images' content, in hex.
        name: the name of the progress bar and of the cached file.
        shape: height and width of the pixels.
        progress: whether to show a bar.

    Raises:
        ImageError: images can't be turned into pixels; the text has the first `MOST_LISTED`.
    """
    cached = cache_dir() / "pixels" / f"{name}-{_key(digest, shape)}.npz"
    prepared = _read(cached, count, shape)
    if prepared is None:
        prepared = _prepare_each(images, count, name, shape, progress)
        _write(cached, prepared)
    return prepared


def _prepare_each(images: Iterable[ImageSource], count: int, name: str, shape: Shape, progress: bool) -> Prepared:
    """One image after the other: MNIST takes 10 s once, and a pool of processes would need a guarded `__main__`."""
    problems: list[ImageError] = []
    bar = tqdm(images, f"prepare {name}", count, unit="image", unit_scale=True, disable=not progress)
    boxes: list[Ink] = []
    pixels = np.empty((count, *shape), np.uint8)
    for position, source in enumerate(bar):
        try:
            boxes.append(find_box(read_grey(source)))
            pixels[position] = pixels_of(boxes[-1], shape)
        except ImageError as error:
            problems.append(error)
            if len(problems) == MOST_LISTED:
                break
    if problems:
        raise ImageError(problems[0].reason, list_problems([str(error) for error in problems])) from problems[0]
    return Prepared(pixels, Originals.of_boxes(boxes, shape))


def _key(digest: str, shape: Shape) -> str:
    """Pillow is part of it too: it decodes, and it resamples."""
    return code_key(f"{digest} {shape} pillow {PIL.__version__}", PREPARATION_CODE)


def code_key(source: str, code: Iterable[Path]) -> str:
    """The key of something that was made: 32 hex digits, of its source and of the files of code that made it.

    When one of these files changes, the key changes, and nothing stale is ever served.
    """
    key = hashlib.sha256(source.encode())
    for path in code:
        key.update(hashlib.sha256(path.read_bytes()).digest())
    return key.hexdigest()[:32]


def _read(cached: Path, count: int, shape: Shape) -> Prepared | None:
    """The content of a cached file; None where there is none, or it is damaged."""
    try:
        with cached.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            pixels, ink, frames = (arrays[name] for name in ("pixels", "ink", "frames"))
    except FileNotFoundError:
        return None
    except DAMAGES as error:
        _log.warning("%s is damaged and is made anew: %s", cached, error)
        return None
    found = [(array.dtype, array.shape) for array in (pixels, ink, frames)]
    side = canvas_side(shape)
    shapes = ((count, *shape), (count, side, side), (count, 3))
    fits = found == list(zip((np.uint8, np.uint8, np.float32), shapes, strict=True))
    return Prepared(pixels, Originals(ink, frames)) if fits else None


def _write(cached: Path, prepared: Prepared) -> None:
    """A cache that can't be written costs time, not the run."""
    try:
        with atomic_file(cached) as file:
            np.savez(file, pixels=prepared.pixels, ink=prepared.originals.ink, frames=prepared.originals.frames)
    except OSError as error:
        _log.warning("prepared pixels can't be kept in %s: %s", cached.parent, error)
