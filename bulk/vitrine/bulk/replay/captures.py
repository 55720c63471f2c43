"""The parts that a server has captured, read back. A damaged part is named and passed over."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from vitrine.bulk.chunks import CHUNK_IMAGES, Floats, Pixels
from vitrine.model import Shape, VitrineError

ACTIVATIONS = "activations."
"""The beginning of the names of columns with activations; the layer's name follows."""

ANSWERS = ("time", "request_id", "image", "label", "probabilities", "pixels")
"""Columns that every part has."""

JUDGEMENT = ("novelty", "is_digit")
"""Columns of a model with a novelty threshold."""


DAMAGE = (pa.ArrowException, OSError, LookupError, ValueError, TypeError, AttributeError)
"""Errors of reading a part whose contents aren't those that a server writes."""


class DamagedPartError(Exception):
    """A part can't be read. The text says why."""


@dataclass(frozen=True, slots=True)
class CapturedPart:
    """A part, as its footer describes it: images that one version of a model answered."""

    path: Path
    """The file."""
    images: int
    """Its rows."""
    model: str
    """NAME@VERSION."""
    classes: tuple[str, ...]
    """Labels of the model's classes."""
    input_shape: Shape
    """Shape of one image's pixels."""
    layers: Mapping[str, int]
    """Number of activations of each layer that was kept."""
    is_judged: bool
    """True if it has the novelty."""

    @classmethod
    def at(cls, path: Path) -> Self:
        """Reads a part's footer.

        Raises:
            FileNotFoundError: it was deleted.
            DamagedPartError: it can't be read.
        """
        try:
            with pq.ParquetFile(path) as file:
                schema, images = file.schema_arrow, file.metadata.num_rows
            described = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
            widths = {name: schema.field(name).type.list_size for name in schema.names if name.startswith(ACTIVATIONS)}
            if missing := [name for name in ANSWERS if name not in schema.names]:
                raise DamagedPartError(f"it has no column {missing[0]}: it isn't a captured file")
            return cls(
                path,
                images,
                described["vitrine.model"],
                tuple(json.loads(described["vitrine.classes"])),
                tuple(json.loads(described["vitrine.input_shape"])),
                {name.removeprefix(ACTIVATIONS): width for name, width in widths.items()},
                set(JUDGEMENT) <= set(schema.names),
            )
        except FileNotFoundError:
            raise
        except DAMAGE as error:
            raise DamagedPartError(_in_one_line(error)) from error

    def read(self) -> Iterator["CapturedChunk"]:
        """Its images.

        Raises:
            FileNotFoundError: it was deleted.
            DamagedPartError: a part of it is damaged; the images before that have come.
        """
        columns = [*ANSWERS, *(JUDGEMENT if self.is_judged else ()), *(ACTIVATIONS + layer for layer in self.layers)]
        try:
            with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
                for batch in file.iter_batches(CHUNK_IMAGES, columns=columns, use_threads=False):
                    yield self._chunk(batch)
        except FileNotFoundError:
            raise
        except DAMAGE as error:
            raise DamagedPartError(_in_one_line(error)) from error

    def _chunk(self, batch: pa.RecordBatch) -> "CapturedChunk":
        position = {label: place for place, label in enumerate(self.classes)}
        return CapturedChunk(
            self,
            batch.column("time").cast(pa.int64()).to_numpy(),
            batch.column("request_id").to_pylist(),
            batch.column("image").to_numpy(),
            _pixels(batch.column("pixels")).reshape(-1, *self.input_shape),
            np.array([position[label] for label in batch.column("label").to_pylist()], np.int64),
            _rows(batch.column("probabilities")),
            batch.column("novelty").to_numpy() if self.is_judged else None,
            batch.column("is_digit").to_numpy(zero_copy_only=False) if self.is_judged else None,
            {layer: _rows(batch.column(ACTIVATIONS + layer)) for layer in self.layers},
        )


@dataclass(frozen=True, slots=True, eq=False)
class CapturedChunk:
    """Captured images of one part, at most `CHUNK_IMAGES`; row i is image i."""

    part: CapturedPart
    """Their part."""
    times: npt.NDArray[np.int64]
    """int64 (N,): when each was answered, in microseconds since 1970."""
    request_ids: Sequence[str]
    """The id of each one's request."""
    places: npt.NDArray[np.int32]
    """int32 (N,): the place of each among the images of its request."""
    pixels: npt.NDArray[np.uint8]
    """uint8 (N, height, width)."""
    classes: npt.NDArray[np.int64]
    """int64 (N,): position of the class that was predicted."""
    probabilities: Floats
    """float32 (N, classes)."""
    novelty: Floats | None
    """float32 (N,); None: the model had no threshold."""
    is_digit: npt.NDArray[np.bool_] | None
    """bool (N,); None: the model had no threshold."""
    activations: Mapping[str, Floats]
    """float32 (N, width) for each layer that was kept."""

    def __len__(self) -> int:
        return len(self.pixels)

    def at(self, rows: npt.NDArray[np.int64]) -> Self:
        """Some of the images."""
        return replace(
            self,
            times=self.times[rows],
            request_ids=[self.request_ids[row] for row in rows],
            places=self.places[rows],
            pixels=self.pixels[rows],
            classes=self.classes[rows],
            probabilities=self.probabilities[rows],
            novelty=None if self.novelty is None else self.novelty[rows],
            is_digit=None if self.is_digit is None else self.is_digit[rows],
            activations={layer: values[rows] for layer, values in self.activations.items()},
        )

    def to_classify(self) -> Pixels:
        """The images as an engine takes them."""
        ids = [f"{name}/{place}" for name, place in zip(self.request_ids, self.places, strict=True)]
        return Pixels(ids, self.pixels)


@dataclass(slots=True)
class Captures:
    """The parts in a folder at one moment."""

    folder: Path
    """The folder."""
    parts: Sequence[CapturedPart]
    """The parts that can be read, oldest first."""
    damaged: dict[str, str] = field(default_factory=dict)
    """The reason why a part can't be read, by the name of its file."""

    @property
    def images(self) -> int:
        """Images in all of these parts."""
        return sum(part.images for part in self.parts)


def open_captures(folder: Path, model: str = "") -> Captures:
    """Looks at the parts in a folder; those that a server is writing aren't among them.

    Args:
        folder: the folder that a server captures to.
        model: `NAME` or `NAME@VERSION` of the model that answered; empty: any.

    Raises:
        VitrineError: the folder can't be read, or has no such parts.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if re.fullmatch(r"[^._].*\.parquet", path.name))
    except OSError as error:
        raise VitrineError(f"{folder} can't be read: {error.strerror}") from error
    parts, damaged = [], {}
    for path in paths:
        try:
            parts.append(CapturedPart.at(path))
        except FileNotFoundError:  # deleted, since newer ones need its room
            continue
        except DamagedPartError as error:
            damaged[path.name] = str(error)
    if not paths:
        raise VitrineError(f"{folder} has no captured images: a server completes a file in --capture-part-seconds")
    wanted = [part for part in parts if model in ("", part.model, part.model.rpartition("@")[0])]
    if parts and not wanted:
        labels = ", ".join(sorted({part.model for part in parts}))
        raise VitrineError(f"{folder} has no images that {model} answered, but of {labels}")
    return Captures(folder, wanted, damaged)


def _pixels(column: Any) -> npt.NDArray[np.uint8]:
    size, first = column.type.byte_width, column.offset * column.type.byte_width
    return np.frombuffer(column.buffers()[1], np.uint8)[first : first + len(column) * size]


def _rows(column: Any) -> Floats:
    """A column of lists of one size: float32 (rows, size)."""
    values: Floats = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), -1)


def _in_one_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
