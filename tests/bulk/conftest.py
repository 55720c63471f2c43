"""Sources of images in every form, and a reader of results."""

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

Drawings: TypeAlias = Mapping[str, bytes]
MakeSource: TypeAlias = Callable[[Path, Drawings], Path]

BROKEN = "broken.png"


@pytest.fixture(scope="session")
def drawings() -> Drawings:
    """Nine image files that can be read, and one that can't."""
    numbers = np.random.default_rng(7)
    files = {}
    for name in "abcdefghi":
        page = np.full((40, 30), 250, np.uint8)
        page[8:32, 8:22] = numbers.integers(0, 200, (24, 14))
        written = io.BytesIO()
        Image.fromarray(page).save(written, "PNG")
        files[f"{name}.png"] = written.getvalue()
    return {**files, BROKEN: b"no image at all"}


def as_folder(folder: Path, drawings: Drawings) -> Path:
    (folder / "images" / "more").mkdir(parents=True)
    for number, (name, content) in enumerate(drawings.items()):
        (folder / "images" / ("more" if number % 2 else ".") / name).write_bytes(content)
    (folder / "images" / "notes.txt").write_text("no image")
    return folder / "images"


def as_tars(folder: Path, drawings: Drawings) -> Path:
    (folder / "shards").mkdir()
    names = sorted(drawings)
    for shard, some in enumerate((names[:4], names[4:])):
        with tarfile.open(folder / "shards" / f"{shard:04}.tar", "w") as archive:
            for name in some:
                for member, content in ((name, drawings[name]), (f"{name[:-4]}.cls", b"3")):
                    entry = tarfile.TarInfo(member)
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
    return folder / "shards"


def as_parquet(folder: Path, drawings: Drawings) -> Path:
    names = sorted(drawings)
    table = pa.table({"id": names, "image": [{"bytes": drawings[name], "path": name} for name in names]})
    pq.write_table(table, folder / "images.parquet", row_group_size=3)
    return folder / "images.parquet"


def write_pixels(path: Path, pixels: npt.NDArray[np.uint8], kind: str = "fixed", rows: int = 4) -> Path:
    """Pixels as a column of one of the types that people write."""
    flat = pixels.reshape(len(pixels), -1)
    columns: dict[str, Any] = {
        "fixed": lambda: pa.array([row.tobytes() for row in flat], pa.binary(flat.shape[1])),
        "binary": lambda: pa.array([row.tobytes() for row in flat], pa.binary()),
        "list": lambda: pa.array(flat.tolist(), pa.list_(pa.uint8())),
        "fixed list": lambda: pa.array(flat.tolist(), pa.list_(pa.uint8(), flat.shape[1])),
    }
    pq.write_table(pa.table({"pixels": columns[kind]()}), path, row_group_size=rows)
    return path


SOURCES: Mapping[str, MakeSource] = {"folder": as_folder, "tars": as_tars, "Parquet": as_parquet}


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path: Path, drawings: Drawings) -> Path:
    """The same images in one form after another."""
    return SOURCES[request.param](tmp_path, drawings)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """All results, in the order of the images."""
    files = sorted(folder.glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]
