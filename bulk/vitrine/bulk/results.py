"""Results in a folder: a Parquet file for each part, and a note of what they are results of.

A part's file gets its name when it is complete, so a run that was killed has whole parts and no others. The next run
makes those that are missing.
"""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vitrine.bulk.chunks import ModelInfo, Scores
from vitrine.bulk.sources import Part
from vitrine.client.types import are_digits
from vitrine.model import VitrineError

NOTE = "_run.json"
"""Name of the file that says what the results are of. Readers of Parquet pass over names that begin so."""

_NOTED = {
    "source": "source",
    "parts": "number of parts",
    "model": "model",
    "digest": "file of the model",
    "activations": "choice of layers",
}
"""The note's contents, in words."""

LOCK = "_lock"
"""Name of the file that a run holds, so that no other writes beside it."""


class Results:
    """A folder of results.

    Args:
        folder: the folder; made if it isn't there.
        model: the model.
        wanted: the layers whose activations are kept.
    """

    def __init__(self, folder: Path, model: ModelInfo, wanted: Sequence[str]) -> None:
        self._folder, self._model = folder, model
        self.wanted = wanted
        """The layers whose activations are kept."""

    def begin(self, source: str, parts: int) -> None:
        """Notes what the results are of, or compares that with the note of a run before.

        Args:
            source: the fingerprint of the source.
            parts: the number of its parts.

        Raises:
            VitrineError: the folder has results of something else, or other files; or the note can't be written.
        """
        model = self._model
        note = {
            "source": source,
            "parts": parts,
            "model": model.label,
            "digest": model.digest,
            "activations": list(self.wanted),
        }
        path = self._folder / NOTE
        if path.exists():
            before = _note_at(path)
            if not (before.get("digest") and model.digest):  # a run, or a server, of an earlier version
                before["digest"] = model.digest
            if different := [_NOTED[name] for name, value in note.items() if before.get(name) != value]:
                raise VitrineError(
                    f"{self._folder} has results of a run with another {' and another '.join(different)}: "
                    "name another folder, or remove this one"
                )
            return
        if next(self._folder.glob("*.parquet"), None) is not None:
            raise VitrineError(f"{self._folder} has Parquet files of something else: name another folder")
        try:
            _write(path, json.dumps(note, indent=2).encode())
        except OSError as error:
            raise VitrineError(f"{path} can't be written: {error.strerror}") from error

    def has(self, part: Part) -> bool:
        """True if the results of a part are complete."""
        return self._path(part).exists()

    @contextmanager
    def part(self, part: Part) -> Iterator["PartWriter"]:
        """Writes the results of a part. They are there when the context ends, and not at all if it ends in an error.

        Raises:
            VitrineError: they can't be written, or there are more or fewer than the part has images.
        """
        path = self._path(part)
        beside = path.with_name(f"_{path.name}.{secrets.token_hex(8)}.tmp")  # processes of several nodes share pids
        try:
            with _parquet_writer(beside, schema_of(self._model, self.wanted)) as file:
                writer = PartWriter(file, self._model, self.wanted)
                yield writer
            if writer.images != part.images:
                raise VitrineError(f"part {part.number} has {part.images:,} images, and {writer.images:,} came")
            _publish(beside, path)
        except OSError as error:
            raise VitrineError(f"{path} can't be written: {error.strerror or error}") from error
        finally:
            beside.unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other runs away, and removes what a killed one has left half written.

        Raises:
            VitrineError: another run writes there, or the folder can't be made.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = (self._folder / LOCK).open("w")
        except OSError as error:
            raise VitrineError(f"{self._folder} can't be written to: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise VitrineError(f"another run writes to {self._folder}") from error
            for left in self._folder.glob("_*.tmp"):
                left.unlink(missing_ok=True)
            yield

    def _path(self, part: Part) -> Path:
        return self._folder / f"part-{part.number:05}.parquet"


class PartWriter:
    """Writes scores to the file of a part, a row group for each chunk."""

    def __init__(self, file: pq.ParquetWriter, model: ModelInfo, wanted: Sequence[str]) -> None:
        self._file, self._model, self._wanted = file, model, wanted
        self.images = 0
        """Images written so far."""
        self.errors = 0
        """Images among them that have an error."""

    def write(self, ids: Sequence[str], scores: Scores) -> None:
        """Writes the scores of some images."""
        self._file.write_batch(batch_of(ids, scores, self._model, self._wanted))
        self.images += len(ids)
        self.errors += len(scores.errors)


def _parquet_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Numbers that a network calculates hardly repeat, so only names and texts are looked up and compressed."""
    texts = ("id", "label", "error")
    compression = {field.name: "zstd" if field.name in texts else "none" for field in schema}
    return pq.ParquetWriter(path, schema, compression=compression, use_dictionary=["label", "error"])


def schema_of(model: ModelInfo, wanted: Sequence[str]) -> pa.Schema:
    """The columns: a row for each image, with nothing but `id` and `error` where there is an error."""
    digit = [pa.field("digit", pa.int8())] if are_digits(model.classes) else []
    judged = [pa.field("novelty", pa.float32()), pa.field("is_digit", pa.bool_())] if model.has_novelty else []
    sizes = {f"activations.{layer}": int(np.prod(model.layers[layer])) for layer in wanted}
    fields = [
        pa.field("id", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        *digit,
        pa.field("probability", pa.float32()),
        pa.field("probabilities", _list_of(len(model.classes))),
        *judged,
        *(pa.field(name, _list_of(size)) for name, size in sizes.items()),
        pa.field("error", pa.string()),
    ]
    return pa.schema(fields, metadata={"vitrine.model": model.label, "vitrine.classes": json.dumps(model.classes)})


def batch_of(ids: Sequence[str], scores: Scores, model: ModelInfo, wanted: Sequence[str]) -> pa.RecordBatch:
    """Scores as columns."""
    count = len(ids)
    missing = np.zeros(count, np.bool_)
    missing[list(scores.errors)] = True
    absent = missing if scores.errors else None
    columns: dict[str, Any] = {
        "id": pa.array(map(_printable, ids), pa.string()),
        "label": pa.array(np.array(model.classes, object)[scores.classes], pa.string(), mask=absent),
        "probability": pa.array(scores.probabilities.max(axis=1, initial=0.0), mask=absent),
        "probabilities": _lists(scores.probabilities, absent),
        "error": pa.array([scores.errors.get(row) for row in range(count)], pa.string()) if scores.errors else None,
    }
    if are_digits(model.classes):
        digits = np.array(list(map(int, model.classes)), np.int8)
        columns["digit"] = pa.array(digits[scores.classes], mask=absent)
    if scores.novelty is not None and scores.is_digit is not None:
        columns["novelty"] = pa.array(scores.novelty, mask=absent)
        columns["is_digit"] = pa.array(scores.is_digit, mask=absent)
    columns |= {f"activations.{layer}": _lists(scores.activations[layer], absent) for layer in wanted}
    schema = schema_of(model, wanted)
    ordered = [pa.nulls(count, field.type) if columns[field.name] is None else columns[field.name] for field in schema]
    return pa.RecordBatch.from_arrays(ordered, schema=schema)


def _printable(name: str) -> str:
    r"""A name as UTF-8 has it: bytes of a file's name that are no text come as \xff."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _list_of(size: int) -> pa.DataType:
    return pa.list_(pa.float32(), size)


def _lists(
    values: "np.ndarray[Any, np.dtype[np.float32]]", absent: "np.ndarray[Any, np.dtype[np.bool_]] | None"
) -> Any:
    flat = np.ascontiguousarray(values, np.float32).reshape(len(values), -1)
    mask = None if absent is None else pa.array(absent)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1], mask=mask)


def _note_at(path: Path) -> dict[str, object]:
    """The note of a run before; an empty one of a disk that failed, or a person's, is no note."""
    try:
        note = json.loads(path.read_bytes())
    except OSError as error:
        raise VitrineError(f"{path} can't be read: {error.strerror}") from error
    except ValueError:
        note = None
    if not isinstance(note, dict):
        raise VitrineError(
            f"{path} is damaged, and nothing else says what the results beside it are of: name another folder"
        )
    return note


def _write(path: Path, content: bytes) -> None:
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_bytes(content)
    _publish(beside, path)


def _publish(beside: Path, path: Path) -> None:
    """Gives a complete file its name. It is whole after a power failure, too."""
    _flush(beside)
    beside.replace(path)
    _flush(path.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
