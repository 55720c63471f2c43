"""Finds out what a path is a source of."""

from collections.abc import Sequence
from pathlib import Path

from vitrine.bulk.sources.folder import Folder
from vitrine.bulk.sources.source import PART_IMAGES, Source
from vitrine.bulk.sources.tar import Tar
from vitrine.model import VitrineError


def open_source(path: Path, part_images: int = PART_IMAGES, column: str = "") -> Source:
    """Opens a source of images.

    Args:
        path: a folder of image files, a tar file, a Parquet file, or a folder of tar files or of Parquet files.
        part_images: images from which on a part is full.
        column: the column of images in Parquet files; empty: the likeliest.

    Raises:
        VitrineError: it is none of these, can't be read, or has no images.
    """
    if not path.exists():
        raise VitrineError(f"{path} isn't there")
    if path.is_file():
        return _of_files([path], part_images, column)
    for suffix in (".parquet", ".tar"):
        if files := sorted(found for found in path.rglob(f"*{suffix}") if found.is_file()):
            return _of_files(files, part_images, column)
    return Folder(path, part_images)


def _of_files(paths: Sequence[Path], part_images: int, column: str) -> Source:
    match paths[0].suffix:
        case ".tar":
            return Tar(paths, part_images)
        case ".parquet":
            from vitrine.bulk.sources.parquet import Parquet  # loads pyarrow

            return Parquet(paths, part_images, column)
        case suffix:
            raise VitrineError(
                f"{paths[0]} is no source of images: it ends in {suffix or 'nothing'}, not .tar or .parquet"
            )
