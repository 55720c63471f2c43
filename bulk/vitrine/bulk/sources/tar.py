"""Tar files of images, as WebDataset writes them. Nothing is unpacked: contents are read where they lie."""

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vitrine.bulk.chunks import Files
from vitrine.bulk.sources.source import Part, Source, cut, fingerprint_of, in_chunks
from vitrine.client.image_files import is_image
from vitrine.model import VitrineError


@dataclass(frozen=True, slots=True)
class _Member:
    archive: int
    name: str
    offset: int
    size: int


class Tar(Source):
    """The images in tar files; their other members, such as labels, are passed over.

    Args:
        paths: the tar files.
        part_images: images from which on a part is full.

    Raises:
        VitrineError: a file is no plain tar file, or there are no images.
    """

    def __init__(self, paths: Sequence[Path], part_images: int) -> None:
        self._paths = paths
        self._members = [member for place, path in enumerate(paths) for member in _images_in(place, path)]
        if not self._members:
            raise VitrineError(f"{paths[0]}{' …' if len(paths) > 1 else ''} has no images: files such as .png or .jpg")
        self._ranges = cut([1] * len(self._members), part_images)

    @cached_property
    def parts(self) -> Sequence[Part]:
        """Its parts."""
        return [Part(number, len(members)) for number, members in enumerate(self._ranges)]

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the archives' names, their members and the parts."""
        return fingerprint_of([*(path.name for path in self._paths), *self._ranges, *self._members])

    def read(self, part: Part) -> Iterator[Files]:
        """The images of a part."""
        return in_chunks(self._contents(self._ranges[part.number]))

    def _contents(self, places: range) -> Iterator[tuple[str, bytes | str]]:
        opened, file = -1, None
        try:
            for member in (self._members[place] for place in places):
                path = self._paths[member.archive]
                if file is None or member.archive != opened:
                    if file is not None:
                        file.close()
                    opened, file = member.archive, path.open("rb")
                file.seek(member.offset)
                content = file.read(member.size)
                complete = len(content) == member.size
                yield f"{path.name}/{member.name}", content if complete else "the archive ends within it"
        except OSError as error:
            raise VitrineError(f"{path} can't be read: {error.strerror}") from error
        finally:
            if file is not None:
                file.close()


def _images_in(archive: int, path: Path) -> Iterator[_Member]:
    try:
        with tarfile.open(path, "r:") as opened:
            contents: dict[str, tuple[int, int]] = {}
            for member in opened:
                if member.isreg() and not member.issparse():
                    contents[member.name] = member.offset_data, member.size
                elif not (member.islnk() and member.linkname in contents):
                    continue
                else:  # one file under two names: tar writes it once, and then the name of the first
                    contents[member.name] = contents[member.linkname]
                if is_image(member.name):
                    yield _Member(archive, member.name, *contents[member.name])
    except tarfile.TarError as error:
        raise VitrineError(f"{path} is no tar file, or is compressed or damaged: {error}") from error
    except OSError as error:
        raise VitrineError(f"{path} can't be read: {error.strerror}") from error
