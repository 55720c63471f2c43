"""Keeps prepared images, pixels and originals, so that a data set is prepared once.

A cached file is found by a key of two digests: one of the images, one of the code that prepares them. When either
changes, the key does, and nothing stale is ever served. It knows no data set.
"""

import hashlib
import logging
import os
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import PIL
from tqdm import tqdm

from vitrine.model import PIXELS_SHAPE, Shape
from vitrine.model.preparation import blobs, crops, enclosures, image, paper, pen, photo, pipeline, surroundings
from vitrine.training import lengths
from vitrine.training.data import originals
from vitrine.training.data.originals import Originals, canvas_side
from vitrine.training.data.preparing import Images, Prepared, prepare_each
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


def prepare_all(
    images: Images,
    digest: str,
    name: str,
    shape: Shape = PIXELS_SHAPE,
    *,
    progress: bool = True,
) -> Prepared:
    """The pixels and originals of many images, from the cache where they are in it.

    Args:
        images: images that `prepare` takes; they are read only when they aren't in the cache.
        digest: a digest of the images' content, in hex.
        name: the name of the progress bar and of the cached file.
        shape: height and width of the pixels.
        progress: whether to show a bar.

    Raises:
        BrokenImagesError: images can't be turned into pixels; it has a text for each.
        TrainingError: a process ended before its images were prepared.
    """
    cached = cache_dir() / "pixels" / f"{name}-{_key(digest, shape)}.npz"
    prepared = _read(cached, len(images), shape)
    if prepared is None:
        with tqdm(None, f"prepare {name}", len(images), unit="image", unit_scale=True, disable=not progress) as bar:
            prepared = prepare_each(images, shape, bar=bar)
        _write(cached, prepared)
    return prepared


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
