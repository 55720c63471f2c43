"""A source of images, and its parts."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from vitrine.bulk.chunks import CHUNK_BYTES, CHUNK_IMAGES, Files, ReadChunk

PART_IMAGES = 50_000
"""Images from which on a part is full, where the source says nothing else."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some consecutive images of a source, whose results are one file."""

    number: int
    """Its place among the parts, from 0."""
    images: int
    """Number of images."""


class Source(ABC):
    """Images in an order that is always the same."""

    @property
    @abstractmethod
    def parts(self) -> Sequence[Part]:
        """Its parts."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hex digits that change if the source gets other images, or others are in a part."""

    @abstractmethod
    def read(self, part: Part) -> Iterator[ReadChunk]:
        """The images of a part.

        Raises:
            VitrineError: the source itself can't be read any more. An image that can't be is no error.
        """

    @property
    def images(self) -> int:
        """Number of images in all parts."""
        return sum(part.images for part in self.parts)


def cut(sizes: Sequence[int], most: int) -> list[range]:
    """Puts consecutive pieces together until they have `most` images; a larger piece stays whole."""
    parts: list[range] = []
    first = held = 0
    for place, size in enumerate(sizes):
        if held and held + size > most:
            parts.append(range(first, place))
            first, held = place, 0
        held += size
    return [*parts, range(first, len(sizes))] if held else parts


def in_chunks(files: Iterable[tuple[str, bytes | str]]) -> Iterator[Files]:
    """Names and contents of files as chunks, none of them large."""
    ids: list[str] = []
    contents: list[bytes | str] = []
    size = 0
    for name, content in files:
        ids.append(name)
        contents.append(content)
        size += len(content)
        if len(ids) == CHUNK_IMAGES or size >= CHUNK_BYTES:
            yield Files(ids, contents)
            ids, contents, size = [], [], 0
    if ids:
        yield Files(ids, contents)


def fingerprint_of(items: Iterable[object]) -> str:
    """A digest of the items' texts."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(f"{item!r}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
