"""Reads IDX, the file format of MNIST, plain or gzipped.

The format, from yann.lecun.com/exdb/mnist: two zero bytes, a code for the type, the number of dimensions, each
dimension as a big-endian uint32, and the values row by row. Only unsigned bytes are read, as MNIST has no others.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from vitrine.training.errors import DataError

UINT8 = 0x08
"""The code of unsigned bytes."""

CHUNK = 1 << 20
"""Bytes that are read at a time: a header that declares more than the memory holds costs nothing."""

GZIP_MAGIC = b"\x1f\x8b"
"""First bytes of a gzipped file; its name doesn't count, because browsers unpack without renaming."""


def read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """Reads an IDX file of unsigned bytes.

    Args:
        path: the file, gzipped or not.
        dimensions: how many it must have: 1 for labels, 3 for images.

    Returns:
        uint8, of the shape that the file declares.

    Raises:
        DataError: the file can't be read, is no such IDX file, is truncated or damaged; the text names it.
    """
    try:
        with _open(path) as file:
            shape = _read_shape(file, path, dimensions)
            return _read_values(file, path, shape)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is truncated or damaged: {error}") from error
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror}") from error


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        zipped = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    return cast(BinaryIO, gzip.open(path)) if zipped else path.open("rb")


def _read_shape(file: BinaryIO, path: Path, dimensions: int) -> tuple[int, ...]:
    magic = file.read(4)
    if magic != bytes((0, 0, UINT8, dimensions)):
        raise DataError(
            f"{path} isn't an IDX file of unsigned bytes with {dimensions} dimensions: it begins with {magic.hex(' ')}"
        )
    header = file.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise DataError(f"{path} is truncated: it ends inside its header")
    return struct.unpack(f">{dimensions}I", header)


def _read_values(file: BinaryIO, path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    declared = math.prod(shape)
    values = bytearray()
    while len(values) <= declared and (chunk := file.read(CHUNK)):  # to the end, where gzip checks its checksum
        values += chunk
    if len(values) < declared:
        raise DataError(f"{path} is truncated: it has {len(values):,} of the {declared:,} values that it declares")
    if len(values) > declared:
        raise DataError(f"{path} is damaged: it has more than the {declared:,} values that it declares")
    return np.frombuffer(values, np.uint8).reshape(shape)
