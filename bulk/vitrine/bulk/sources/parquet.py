"""Parquet files with a column of images: whole image files, or pixels that are prepared already."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vitrine.bulk.chunks import CHUNK_BYTES, CHUNK_IMAGES, Pixels, ReadChunk, UnevenPixels
from vitrine.bulk.sources.source import Part, Source, cut, fingerprint_of, in_chunks
from vitrine.model import VitrineError

PIXELS = "pixels"
"""Name of the column of pixels."""

IMAGES = ("image", "bytes", "img", "png", "jpg", "jpeg")
"""Names of the columns of image files, the likeliest first."""

IDS = ("id", "key", "__key__", "path", "file_name")
"""Names of the columns of names, the likeliest first."""


@dataclass(frozen=True, slots=True)
class _Group:
    file: int
    number: int
    first: int
    rows: int


class Parquet(Source):
    """The rows of Parquet files. A part consists of whole row groups.

    Args:
        paths: the files.
        part_images: images from which on a part is full.
        column: the column of images; empty: the first of `PIXELS` and `IMAGES`.

    Raises:
        VitrineError: a file is no Parquet file, or has no such column, or there are no rows.
    """

    def __init__(self, paths: Sequence[Path], part_images: int, column: str = "") -> None:
        self._paths = paths
        files = [_opened(path) for path in paths]
        self._column = column or _found(files[0].schema_arrow.names, (PIXELS, *IMAGES))
        for path, file in zip(paths, files, strict=True):
            _check_column(path, file.schema_arrow, self._column)
        self._groups = [group for place, file in enumerate(files) for group in _groups_of(place, file)]
        if not self._groups:
            raise VitrineError(f"{paths[0]}{' …' if len(paths) > 1 else ''} has no rows")
        self._ranges = cut([group.rows for group in self._groups], part_images)

    @cached_property
    def parts(self) -> Sequence[Part]:
        """Its parts."""
        rows = [sum(self._groups[place].rows for place in groups) for groups in self._ranges]
        return [Part(number, images) for number, images in enumerate(rows)]

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the files' names and sizes, their row groups, the column and the parts."""
        files = [(path.name, path.stat().st_size) for path in self._paths]
        return fingerprint_of([self._column, *files, *self._ranges, *self._groups])

    def read(self, part: Part) -> Iterator[ReadChunk]:
        """The rows of a part."""
        for group in (self._groups[place] for place in self._ranges[part.number]):
            path = self._paths[group.file]
            try:
                yield from self._rows(path, group)
            except (pa.ArrowException, OSError) as error:
                raise VitrineError(f"{path} can't be read: {error}") from error

    def _rows(self, path: Path, group: _Group) -> Iterator[ReadChunk]:
        with pq.ParquetFile(path) as file:
            named = _found(file.schema_arrow.names, IDS)
            columns = [self._column, *([named] if named else [])]
            each = max(1, file.metadata.row_group(group.number).total_byte_size // max(1, group.rows))
            size = max(1, min(CHUNK_IMAGES, CHUNK_BYTES // each))
            first = group.first
            for batch in file.iter_batches(size, [group.number], columns, use_threads=False):
                ids = _ids(batch, named, path, first)
                first += batch.num_rows
                column = batch.column(self._column)
                if self._column == PIXELS:
                    yield _pixels(ids, _plain(column), path)
                else:
                    yield from in_chunks(zip(ids, _files(column), strict=True))


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise VitrineError(f"{path} can't be read as Parquet: {error}") from error


def _found(names: list[str], likely: Sequence[str]) -> str:
    return next((name for name in likely if names.count(name) == 1), "")


def _check_column(path: Path, schema: pa.Schema, column: str) -> None:
    if schema.names.count(column) > 1:
        raise VitrineError(f"{path} has several columns called {column}")
    if column not in schema.names:
        columns = ", ".join(schema.names)
        raise VitrineError(f"{path} has no column of images among {columns}: name it with --column")


def _groups_of(place: int, file: pq.ParquetFile) -> Iterator[_Group]:
    first = 0
    for number in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(number).num_rows
        if rows:
            yield _Group(place, number, first, rows)
        first += rows


def _ids(batch: pa.RecordBatch, named: str, path: Path, first: int) -> list[str]:
    names = _as_bytes(_plain(batch.column(named))).to_pylist() if named else [None] * batch.num_rows
    return [f"{path.name}:{first + row}" if name is None else _text(name) for row, name in enumerate(names)]


def _text(name: object) -> str:
    return name.decode(errors="backslashreplace") if isinstance(name, bytes) else str(name)


def _plain(column: Any) -> Any:
    """A column without a dictionary or views of its values."""
    if pa.types.is_dictionary(column.type):
        return _plain(column.dictionary_decode())
    return column.cast(pa.large_binary()) if pa.types.is_binary_view(column.type) else column


def _as_bytes(column: Any) -> Any:
    """Texts as bytes, since writers let some through that are no UTF-8; other columns as they are."""
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return column.cast(pa.large_binary()) if text else column


def _pixels(ids: Sequence[str], column: Any, path: Path) -> Pixels | UnevenPixels:
    """A column of bytes as pixels, without a copy where Parquet has them one after the other.

    Raises:
        VitrineError: it has other values than bytes.
    """
    if not _has_bytes(column):
        raise VitrineError(f"the pixels in {path} aren't bytes, 0 to 255")
    kind, lists = column.type, _is_list(column)
    if column.null_count or not _are_even(column) or (lists and column.flatten().null_count):
        return UnevenPixels(ids, [_row(value) for value in column.to_pylist()])
    if lists:
        values = column.flatten().to_numpy()
    elif pa.types.is_fixed_size_binary(kind):
        size = kind.byte_width
        values = np.frombuffer(column.buffers()[1], np.uint8)[column.offset * size :][: len(column) * size]
    else:
        values = np.frombuffer(b"".join(column.to_pylist()), np.uint8)
    return Pixels(ids, values.reshape(len(column), -1), may_vary=not _is_fixed(kind))


def _row(value: bytes | list[int | None] | None) -> bytes | None:
    """A row's pixels; None if it has none, or one of them is missing."""
    if value is None or (isinstance(value, list) and None in value):
        return None
    return bytes(value)  # type: ignore[arg-type]  # it has no None


def _are_even(column: Any) -> bool:
    """True if all rows of a column have the same length."""
    if _is_fixed(column.type):
        return True
    lengths = column.value_lengths() if _is_list(column) else pc.binary_length(column)
    return len(lengths.unique()) == 1


def _is_fixed(kind: Any) -> bool:
    return bool(pa.types.is_fixed_size_binary(kind) or pa.types.is_fixed_size_list(kind))


def _is_list(column: Any) -> bool:
    kind = column.type
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _has_bytes(column: Any) -> bool:
    """True if a column's values are some bytes."""
    kind = column.type
    if _is_list(column):
        return bool(pa.types.is_uint8(kind.value_type))
    return bool(pa.types.is_fixed_size_binary(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _files(column: Any) -> Iterator[bytes | str]:
    """The contents of image files; a struct of `bytes` and `path` is what Hugging Face's data sets have."""
    for value in column.to_pylist():
        content = value.get("bytes") if isinstance(value, dict) else value
        yield content if isinstance(content, bytes) else "the row has no image file"
