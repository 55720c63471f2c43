"""Sources: which images they have, in which parts."""

import errno
import os
import tarfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bulk.conftest import Drawings, as_folder, as_parquet, as_tars, rows_of, write_pixels

from vitrine.bulk import Job, open_source, score
from vitrine.bulk.chunks import CHUNK_IMAGES, Files, Pixels, UnevenPixels
from vitrine.bulk.engines.local import open_local
from vitrine.bulk.sources.source import cut, in_chunks
from vitrine.model import VitrineError


def contents_of(path: Path, part_images: int = 4) -> dict[str, bytes | str]:
    source, found = open_source(path, part_images), dict[str, bytes | str]()
    for part in source.parts:
        chunks = list(source.read(part))
        assert sum(map(len, chunks)) == part.images
        for chunk in chunks:
            assert isinstance(chunk, Files)
            found |= zip(chunk.ids, chunk.files, strict=True)
    assert len(found) == source.images
    return found


def test_each_form_has_the_same_images(source: Path, drawings: Drawings) -> None:
    found = contents_of(source)
    assert {name.rpartition("/")[2]: content for name, content in found.items()} == drawings


@pytest.mark.parametrize("kind", ["fixed", "binary", "list", "fixed list"])
def test_pixels_come_as_they_are(kind: str, tmp_path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    source = open_source(write_pixels(tmp_path / "some.parquet", pixels, kind), 8)
    chunks = [chunk for part in source.parts for chunk in source.read(part)]
    assert all(isinstance(chunk, Pixels) for chunk in chunks)
    read = np.concatenate([chunk.shaped((18, 18)).pixels for chunk in chunks if isinstance(chunk, Pixels)])
    assert np.array_equal(read, pixels)
    assert chunks[-1].ids[-1] == "some.parquet:15"
    assert [part.images for part in source.parts] == [8, 8]


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ([1] * 5, [range(2), range(2, 4), range(4, 5)]),
        ([3, 1, 1], [range(1), range(1, 3)]),
        ([9], [range(1)]),
        ([], []),
    ],
)
def test_pieces_make_parts(sizes: Sequence[int], parts: Sequence[range]) -> None:
    assert cut(sizes, 2) == parts


def test_a_chunk_has_few_images_and_few_bytes() -> None:
    assert [len(chunk) for chunk in in_chunks([("name", b"")] * (CHUNK_IMAGES + 1))] == [CHUNK_IMAGES, 1]
    large = bytes(40 << 20)
    assert [len(chunk) for chunk in in_chunks([("name", large)] * 3)] == [2, 1]


def test_the_fingerprint_knows_the_images_and_the_parts(tmp_path: Path, drawings: Drawings) -> None:
    for make in (as_folder, as_tars, as_parquet):
        (folder := tmp_path / make.__name__).mkdir()
        path = make(folder, drawings)
        (other := tmp_path / f"less {make.__name__}").mkdir()
        less = make(other, dict(list(drawings.items())[1:]))
        prints = [open_source(path, 4), open_source(path, 4), open_source(path, 7), open_source(less, 4)]
        assert [source.fingerprint == prints[0].fingerprint for source in prints] == [True, True, False, False]


def test_an_image_of_another_size_is_another_source(tmp_path: Path, drawings: Drawings) -> None:
    path = as_folder(tmp_path, drawings)
    before = open_source(path, 4).fingerprint
    (path / "a.png").write_bytes(drawings["a.png"] + b"more")
    assert open_source(path, 4).fingerprint != before


def test_an_image_that_is_gone_is_an_error_in_its_place(tmp_path: Path, drawings: Drawings) -> None:
    path = as_folder(tmp_path, drawings)
    source = open_source(path)
    (path / "a.png").unlink()
    (chunk,) = source.read(source.parts[0])
    assert isinstance(chunk, Files)
    assert dict(zip(chunk.ids, chunk.files, strict=True))["a.png"] == "it is no regular file, or is gone"


def refusal(path: Path, column: str = "") -> str:
    with pytest.raises(VitrineError) as refused:
        read_first_part(path, column)
    return str(refused.value)


def read_first_part(path: Path, column: str) -> None:
    source = open_source(path, column=column)
    list(source.read(source.parts[0]))


def test_what_is_no_source_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "no.tar").write_text("no archive")
    (tmp_path / "no.parquet").write_text("no table")
    tarfile.open(tmp_path / "nothing.tar", "w").close()
    tarfile.open(tmp_path / "packed.tar", "w:gz").close()
    assert "isn't there" in refusal(tmp_path / "nowhere")
    assert "has no images" in refusal(tmp_path / "empty")
    assert "not .tar or .parquet" in refusal(tmp_path / "notes.txt")
    assert "no tar file, or is compressed" in refusal(tmp_path / "no.tar")
    assert "no tar file, or is compressed" in refusal(tmp_path / "packed.tar")
    assert "has no images" in refusal(tmp_path / "nothing.tar")
    assert "can't be read as Parquet" in refusal(tmp_path / "no.parquet")


def test_a_table_without_images_says_which_columns_it_has(tmp_path: Path) -> None:
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"name": ["a"], "size": [1]}), path)
    assert "no column of images among name, size: name it with --column" in refusal(path)
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), path)
    assert "has no rows" in refusal(path)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.list_(pa.uint8()), pa.large_list(pa.uint8())])
@pytest.mark.parametrize("good", [[], [bytes(324)]])
def test_rows_without_pixels_or_with_others_are_bad_images(kind: Any, good: list[bytes], tmp_path: Path) -> None:
    rows = [*good, None, b"12", b""]
    numbers = [None if row is None else list(row) for row in rows]
    column = pa.array(numbers if isinstance(kind, pa.ListType | pa.LargeListType) else rows, kind)
    pq.write_table(pa.table({"pixels": column}), tmp_path / "some.parquet")
    source = open_source(tmp_path / "some.parquet")
    (chunk,) = source.read(source.parts[0])
    assert isinstance(chunk, UnevenPixels)
    shaped = chunk.shaped((18, 18))
    assert shaped.pixels.shape == (len(rows), 18, 18)
    assert [shaped.errors.get(row) for row in range(len(rows))] == [
        *[None] * len(good),
        "the row has no pixels",
        "the row has 2 pixels, and the model takes 18 × 18",
        "the row has 0 pixels, and the model takes 18 × 18",
    ]


@pytest.mark.parametrize("kind", [pa.binary(324), pa.list_(pa.uint8(), 324)])
def test_a_missing_row_of_a_fixed_size_is_a_bad_image(kind: Any, tmp_path: Path) -> None:
    rows = [bytes(range(256)) + bytes(68), None, bytes(324)]
    numbers = [None if row is None else list(row) for row in rows]
    column = pa.array(numbers if pa.types.is_fixed_size_list(kind) else rows, kind)
    pq.write_table(pa.table({"pixels": column}), tmp_path / "some.parquet")
    source = open_source(tmp_path / "some.parquet")
    (chunk,) = source.read(source.parts[0])
    assert isinstance(chunk, UnevenPixels)
    shaped = chunk.shaped((18, 18))
    assert shaped.errors == {1: "the row has no pixels"}
    assert shaped.pixels[0].tobytes() == rows[0]


def test_a_list_with_a_missing_number_is_a_bad_image(tmp_path: Path) -> None:
    pq.write_table(pa.table({"pixels": pa.array([[1, None], [1, 2]], pa.list_(pa.uint8()))}), tmp_path / "some.parquet")
    source = open_source(tmp_path / "some.parquet")
    (chunk,) = source.read(source.parts[0])
    assert isinstance(chunk, UnevenPixels)
    assert chunk.shaped((1, 2)).errors == {0: "the row has no pixels"}


def test_a_column_of_another_size_is_no_source_and_a_row_is_a_bad_image() -> None:
    fixed, varying = (Pixels(["a"], np.zeros((1, 2), np.uint8), may_vary=varies) for varies in (False, True))
    with pytest.raises(VitrineError, match="a has 2 pixels, and the model takes 18 × 18"):
        fixed.shaped((18, 18))
    assert varying.shaped((18, 18)).errors == {0: "the row has 2 pixels, and the model takes 18 × 18"}


async def test_names_that_are_no_text_are_written_out(
    tmp_path: Path, drawings: Drawings, judging_artifact: Path
) -> None:
    (folder := tmp_path / "folder").mkdir()
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(drawings["a.png"])
    tar = as_tars(tmp_path, {os.fsdecode(b"caf\xe9.png"): drawings["a.png"]})
    table = tmp_path / "table.parquet"
    latin = pa.Array.from_buffers(pa.string(), 1, pa.array([b"caf\xe9"]).buffers())
    pq.write_table(pa.table({"id": latin, "image": [drawings["a.png"]]}), table)
    expected = [r"caf\xe9.png", r"0000.tar/caf\xe9.png", r"caf\xe9"]
    for number, source in enumerate((folder, tar, table)):
        out = tmp_path / f"out {number}"
        await score(Job(open_source(source), out, partial(open_local, judging_artifact)))
        assert [(row["id"], row["error"]) for row in rows_of(out)] == [(expected[number], None)]


def test_ids_are_texts_and_one_that_is_missing_is_the_row(tmp_path: Path) -> None:
    path = tmp_path / "some.parquet"
    for ids in (pa.array([b"a", None]), pa.array(["a", None]).dictionary_encode()):
        pq.write_table(pa.table({"id": ids, "image": [b"", b""]}), path)
        assert list(contents_of(path)) == ["a", "some.parquet:1"]


@pytest.mark.parametrize("kind", ["dictionary", "large binary", "view", "large list"])
def test_pixels_may_have_any_layout_of_bytes(kind: str, tmp_path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    flat = pixels.reshape(len(pixels), -1)
    rows = [row.tobytes() for row in flat]
    column = {
        "dictionary": lambda: pa.array(rows).dictionary_encode(),
        "large binary": lambda: pa.array(rows, pa.large_binary()),
        "view": lambda: pa.array(rows, pa.binary_view()),
        "large list": lambda: pa.array(flat.tolist(), pa.large_list(pa.uint8())),
    }[kind]()
    pq.write_table(pa.table({"pixels": column}), tmp_path / "some.parquet")
    source = open_source(tmp_path / "some.parquet")
    (chunk,) = source.read(source.parts[0])
    assert isinstance(chunk, Pixels)
    assert np.array_equal(chunk.pixels, flat)


@pytest.mark.parametrize("values", [["a", "b"], [1, 2], [{"a": 1}, {"a": 2}], [[1, 2], [3]], [[1.5], [2.5]]])
def test_pixels_of_other_types_are_refused(values: list[Any], tmp_path: Path) -> None:
    pq.write_table(pa.table({"pixels": values}), tmp_path / "some.parquet")
    assert "aren't bytes, 0 to 255" in refusal(tmp_path / "some.parquet")


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.parquet"
    pq.write_table(pa.table([pa.array([b"a"]), pa.array([b"b"])], names=["image", "image"]), path)
    assert "no column of images" in refusal(path)
    assert "several columns called image" in refusal(path, "image")


def test_a_folder_that_cannot_be_read_is_not_left_out_in_silence(
    tmp_path: Path, drawings: Drawings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = as_folder(tmp_path, drawings)
    (path / "closed").mkdir()
    scan = os.scandir

    def refusing(place: str | Path) -> Any:
        if Path(place).name == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", refusing)
    closed = "closed"
    found = contents_of(path)
    assert found.pop("closed") == "it is a folder that can't be read"
    assert len(found) == len(drawings)
    closed = path.name
    assert "images can't be read: Permission denied" in refusal(path)


def test_a_link_in_a_tar_file_is_the_image_that_it_names(tmp_path: Path, drawings: Drawings) -> None:
    (tmp_path / "one.png").write_bytes(drawings["a.png"])
    (tmp_path / "two.png").hardlink_to(tmp_path / "one.png")
    with tarfile.open(tmp_path / "linked.tar", "w") as archive:
        for name in ("one.png", "two.png"):
            archive.add(tmp_path / name, name)
        assert archive.getmember("two.png").islnk()
    content = drawings["a.png"]
    assert contents_of(tmp_path / "linked.tar") == {"linked.tar/one.png": content, "linked.tar/two.png": content}


def test_images_of_kinds_that_cannot_be_read_are_not_left_out(tmp_path: Path) -> None:
    (tmp_path / "phone.HEIC").write_bytes(b"photo")
    assert contents_of(tmp_path) == {"phone.HEIC": b"photo"}
