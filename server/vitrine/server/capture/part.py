"""A part: a Parquet file of rows of one model, with what a reader needs to know of the model."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from vitrine.model.digits import DIGITS
from vitrine.server.capture.folder import OpenFile
from vitrine.server.capture.rows import Rows
from vitrine.server.models.snapshot import ServedModel

MICROSECONDS = 1_000_000


class Part:
    """A part that is being written.

    Args:
        opened: its file.
        model: the model whose rows it has.
        layers: the layers whose activations are kept.
        group_bytes: bytes of rows that wait in memory, to be written together.
    """

    def __init__(self, opened: OpenFile, model: ServedModel, layers: Sequence[str], group_bytes: int) -> None:
        self._opened, self._model, self._layers, self._group_bytes = opened, model, layers, group_bytes
        self._schema = schema_of(model, layers)
        self._writer = pq.ParquetWriter(
            opened.file, self._schema, compression="zstd", use_dictionary=NAMES, write_page_checksum=True
        )
        self._waiting: list[Rows] = []
        self._waiting_bytes = self._written_bytes = 0
        self.begun = time.monotonic()
        """When it was begun, in seconds of `time.monotonic`."""
        self.images = 0
        """Its rows, with those that wait."""

    @property
    def size(self) -> int:
        """Its bytes, with those that wait, at most."""
        return self._written_bytes + self._waiting_bytes

    def add(self, rows: Rows) -> None:
        """Adds rows.

        Raises:
            OSError: they can't be written.
        """
        self._waiting.append(rows)
        self._waiting_bytes += rows.nbytes
        self.images += len(rows)
        if self._waiting_bytes >= self._group_bytes:
            self._write()

    def publish(self) -> int:
        """Completes the file, and gives it its name. Gives its bytes.

        Raises:
            OSError: it can't be written.
        """
        if self._waiting:
            self._write()
        self._writer.close()
        return self._opened.publish()

    def discard(self) -> None:
        """Removes the file with all of its rows."""
        self._opened.discard()
        with suppress(OSError, pa.ArrowException):  # else it would be closed, with a complaint, when it is collected
            self._writer.close()
        self._opened.file.close()

    def _write(self) -> None:
        """Writes the rows that wait as one row group."""
        rows, self._waiting, self._waiting_bytes = self._waiting, [], 0
        batches = [batch_of(each, self._layers, self._schema) for each in rows]
        self._writer.write_table(pa.Table.from_batches(batches, self._schema).combine_chunks())
        self._written_bytes = self._opened.file.tell()


NAMES = ["model", "version", "digest", "label"]
"""Columns with few different texts."""


def schema_of(model: ServedModel, layers: Sequence[str]) -> pa.Schema:
    """The columns of a model's parts, a row for each image."""
    metadata = model.metadata
    shapes = {layer.name: layer.shape for layer in metadata.layers}
    judged = [pa.field("novelty", pa.float32()), pa.field("is_digit", pa.bool_())]
    fields = [
        pa.field("time", pa.timestamp("us", "UTC")),
        pa.field("request_id", pa.string()),
        pa.field("image", pa.int32()),
        *(pa.field(name, pa.string()) for name in NAMES),
        *([pa.field("digit", pa.int8())] if _has_digits(model) else []),
        pa.field("probability", pa.float32()),
        pa.field("probabilities", _list_of(len(metadata.classes))),
        *(judged if metadata.novelty_threshold is not None else []),
        pa.field("pixels", pa.binary(int(np.prod(metadata.input.shape)))),
        *(pa.field(f"activations.{layer}", _list_of(int(np.prod(shapes[layer])))) for layer in layers),
    ]
    described = {
        "vitrine.model": model.label,
        "vitrine.digest": model.digest,
        "vitrine.classes": json.dumps(metadata.classes),
        "vitrine.input_shape": json.dumps(metadata.input.shape),
    }
    return pa.schema(fields, metadata=described)


def batch_of(rows: Rows, layers: Sequence[str], schema: pa.Schema) -> pa.RecordBatch:
    """Rows as columns."""
    count, model = len(rows), rows.model
    labels = np.array(model.metadata.classes, object)[rows.classes]
    named = {"model": model.name, "version": model.version, "digest": model.digest, "request_id": rows.request_id}
    columns: Mapping[str, Any] = {
        "time": pa.array(np.full(count, round(rows.time * MICROSECONDS)), pa.timestamp("us", "UTC")),
        "image": pa.array(np.arange(rows.first, rows.first + count, dtype=np.int32)),
        **{name: pa.array([value] * count, pa.string()) for name, value in named.items()},
        "label": pa.array(labels, pa.string()),
        "digit": pa.array(list(map(int, labels)), pa.int8()) if _has_digits(model) else None,
        "probability": pa.array(rows.probabilities.max(axis=1)),
        "probabilities": _lists(rows.probabilities),
        "novelty": None if rows.novelty is None else pa.array(rows.novelty),
        "is_digit": None if rows.is_digit is None else pa.array(rows.is_digit),
        "pixels": _bytes(rows.pixels),
        **{f"activations.{layer}": _lists(rows.activations[layer]) for layer in layers},
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _has_digits(model: ServedModel) -> bool:
    return set(model.metadata.classes) <= set(DIGITS)


def _list_of(size: int) -> pa.DataType:
    return pa.list_(pa.float32(), size)


def _lists(values: npt.NDArray[np.float32]) -> Any:
    flat = np.ascontiguousarray(values, np.float32).reshape(len(values), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1])


def _bytes(pixels: npt.NDArray[np.uint8]) -> Any:
    """The pixels of each image, uint8 (N, height, width), as one value of so many bytes."""
    flat = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(flat.shape[1]), len(flat), [None, pa.py_buffer(flat)])
