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
from vitrine.server.capture.rows import CapturedModel, Rows

MICROSECONDS = 1_000_000


class Part:
    """A part that is being written.

    Args:
        opened: its file.
        model: the model whose rows it has.
        layers: the layers whose activations are kept.
        group_bytes: bytes of rows that wait in memory, to be written together.
    """

    def __init__(self, opened: OpenFile, model: CapturedModel, layers: Sequence[str], group_bytes: int) -> None:
        self._opened, self._layers, self._group_bytes = opened, layers, group_bytes
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
        try:
            self._opened.discard()
            with suppress(OSError, pa.ArrowException):  # else it would be closed, and complain, when it is collected
                self._writer.close()
        finally:
            self._opened.file.close()

    def _write(self) -> None:
        """Writes the rows that wait as one row group."""
        rows, self._waiting, self._waiting_bytes = self._waiting, [], 0
        self._writer.write_batch(batch_of(rows, self._layers, self._schema))
        self._written_bytes = self._opened.file.tell()


NAMES = ["model", "version", "digest", "label"]
"""Columns with few different texts."""

JUDGEMENT = ("novelty", "is_digit")
"""Columns of a model with a novelty threshold."""


def schema_of(model: CapturedModel, layers: Sequence[str]) -> pa.Schema:
    """The columns of a model's parts, a row for each image."""
    widths = dict(model.layers)
    judged = [pa.field(name, kind) for name, kind in zip(JUDGEMENT, (pa.float32(), pa.bool_()), strict=True)]
    fields = [
        pa.field("time", pa.timestamp("us", "UTC")),
        pa.field("request_id", pa.string()),
        pa.field("image", pa.int32()),
        *(pa.field(name, pa.string()) for name in NAMES),
        *([pa.field("digit", pa.int8())] if _has_digits(model) else []),
        pa.field("probability", pa.float32()),
        pa.field("probabilities", _list_of(len(model.classes))),
        *(judged if model.is_judged else []),
        pa.field("pixels", pa.binary(int(np.prod(model.input_shape)))),
        *(pa.field(f"activations.{layer}", _list_of(widths[layer])) for layer in layers),
    ]
    described = {
        "vitrine.model": model.label,
        "vitrine.digest": model.digest,
        "vitrine.classes": json.dumps(model.classes),
        "vitrine.input_shape": json.dumps(model.input_shape),
    }
    return pa.schema(fields, metadata=described)


def batch_of(rows: Sequence[Rows], layers: Sequence[str], schema: pa.Schema) -> pa.RecordBatch:
    """Rows of one model as columns. Those of all requests together, since each column takes as long as many rows."""
    model, counts = rows[0].model, [len(each) for each in rows]
    classes, probabilities = (_joined([getattr(each, name) for each in rows]) for name in ("classes", "probabilities"))
    judged = {name: [getattr(each, name) for each in rows] for name in JUDGEMENT if name in schema.names}
    labels = np.array(model.classes, object)[classes]  # (N,)
    names = (model.name, model.version, model.digest)
    columns: Mapping[str, Any] = {
        "time": pa.array(
            np.repeat([round(each.time * MICROSECONDS) for each in rows], counts), schema.field("time").type
        ),
        "request_id": pa.array(np.repeat(np.array([each.request_id for each in rows], object), counts), pa.string()),
        "image": pa.array(_joined([np.arange(each.first, each.first + len(each), dtype=np.int32) for each in rows])),
        **{name: pa.array([value] * len(labels), pa.string()) for name, value in zip(NAMES, names, strict=False)},
        "label": pa.array(labels, pa.string()),
        "digit": pa.array(np.array(list(map(int, labels)), np.int8)) if "digit" in schema.names else None,
        "probability": pa.array(probabilities.max(axis=1)),
        "probabilities": _lists(probabilities),
        **{name: pa.array(_joined(values)) for name, values in judged.items()},
        "pixels": _bytes(_joined([each.pixels for each in rows])),
        **{f"activations.{layer}": _lists(_joined([each.activations[layer] for each in rows])) for layer in layers},
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _joined(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _has_digits(model: CapturedModel) -> bool:
    return set(model.classes) <= set(DIGITS)


def _list_of(size: int) -> pa.DataType:
    return pa.list_(pa.float32(), size)


def _lists(values: npt.NDArray[np.float32]) -> Any:
    flat = np.ascontiguousarray(values, np.float32).reshape(len(values), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1])


def _bytes(pixels: npt.NDArray[np.uint8]) -> Any:
    """The pixels of each image, uint8 (N, height, width), as one value of so many bytes."""
    flat = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(flat.shape[1]), len(flat), [None, pa.py_buffer(flat)])
