"""UNIPEN is read from folders and archives, whatever its format allows, and what is damaged is named."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from vitrine.training.data import unipen_files, unipen_format
from vitrine.training.data.unipen import WrittenCharacter, find_unipen, load_unipen, without_repeats
from vitrine.training.errors import DataError

INK = """.VERSION 1.0
.DATA_SOURCE abc
.WRITER_ID w-1
.COMMENT A pen of somebody's
who wrote
5 lines of comment
.COORD X Y
.PEN_DOWN
0 0
1 10
2 20
.PEN_UP
.PEN_DOWN
5 5
6 6
.PEN_UP
"""
"""Two components, of three points and of two."""

SEGMENTS = """.VERSION 1.0
.INCLUDE abc/data/w1.dat
.SEGMENT CHARACTER 0 ? "1"
.SEGMENT CHARACTER 0-1 ? "7"
"""

MINIATURE = {"data/1a/abc/w1.dat": SEGMENTS, "include/abc/data/w1.dat": INK}
"""The smallest distribution."""


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


COMPRESSED: Mapping[str, Callable[[bytes], bytes]] = {"xz": lzma.compress, "gz": gzip.compress, "bz2": bz2.compress}
"""Compression of archives by their suffix."""


def pack(path: Path, files: Mapping[str, str], suffix: str = "xz", root: str = "train_r01_v07/") -> Path:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(root + name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(COMPRESSED[suffix](content.getvalue()))
    return path


def characters(folder: Path, ink: str, segments: str) -> list[WrittenCharacter]:
    """The characters of one file that includes one other."""
    files = {"include/abc/ink.dat": ink, "data/1a/abc/w1.dat": f".INCLUDE abc/ink.dat\n{segments}\n"}
    return load_unipen(write(folder, files))


def one(folder: Path, ink: str, segments: str) -> list[list[list[float]]]:
    """The strokes of the only character."""
    (character,) = characters(folder, ink, segments)
    return [stroke.tolist() for stroke in character.strokes]


def refusal(folder: Path, ink: str, segments: str) -> str:
    with pytest.raises(DataError) as refused:
        characters(folder, ink, segments)
    return str(refused.value)


REAL = Path(os.environ.get("VITRINE_DATA_DIR", "/nowhere")) / "unipen"
"""UNIPEN's digits, where the environment names them before a fixture takes the name away."""

REAL_DIGITS = {
    "aga": 405, "apa": 692, "apb": 2033, "app": 1046, "art": 170, "cea": 7, "ceb": 16, "ced": 1369, "gmd": 1145,
    "ibm": 1571, "lou": 7, "pri": 78, "syn": 4554, "tos": 543,
}  # fmt: skip
"""Digits per contributor of the distribution's fourteen contributors of digits."""


@pytest.mark.parametrize("name", ["miniature", *(["real"] if REAL.is_dir() else [])])
def test_every_digit_of_a_distribution_is_read(tmp_path: Path, name: str) -> None:
    place = REAL if name == "real" else pack(tmp_path / "train_r01_v07.tar.xz", MINIATURE)
    digits = load_unipen(place)
    counts, writers = (REAL_DIGITS, 560) if name == "real" else ({"abc": 2}, 1)
    assert Counter(digit.contributor for digit in digits) == counts
    assert len({digit.writer for digit in digits}) == writers
    assert len(without_repeats(digits)) == (13_150 if name == "real" else 2)
    for digit in digits:
        assert digit.strokes
        for stroke in digit.strokes:
            assert stroke.dtype == np.float32
            assert stroke.ndim == 2
            assert stroke.shape[1] == 2
            assert np.isfinite(stroke).all()


def test_a_drawing_is_left_once_and_not_at_all_with_several_labels(tmp_path: Path) -> None:
    other_writer = INK.replace("w-1", "w-2").replace("6 6", "6 7")
    files = MINIATURE | {
        "include/abc/data/w2.dat": other_writer,
        "data/1a/abc/w2.dat": SEGMENTS.replace("w1", "w2") + '.SEGMENT CHARACTER 1 ? "1"\n.SEGMENT CHARACTER 1 ? "4"\n',
    }
    characters = load_unipen(write(tmp_path, files))
    assert len(characters) == 6
    left = [(character.label, character.writer) for character in without_repeats(characters)]
    assert left == [("1", "abc/w-1"), ("7", "abc/w-1"), ("7", "abc/w-2")]


@pytest.mark.parametrize("place", [".", "unipen", "train_r01_v07", "unipen/train_r01_v07"])
def test_an_unpacked_distribution_is_found_in_its_usual_places(tmp_path: Path, place: str) -> None:
    write(tmp_path / place, MINIATURE)
    assert [digit.label for digit in load_unipen(tmp_path)] == ["1", "7"]


@pytest.mark.parametrize("suffix", ["xz", "gz", "bz2"])
@pytest.mark.parametrize("place", [".", "unipen"])
def test_an_archive_is_read_as_it_lies(tmp_path: Path, place: str, suffix: str) -> None:
    pack(tmp_path / place / f"train_r01_v07.tar.{suffix}", MINIATURE, suffix)
    before = sorted(tmp_path.rglob("*"))
    assert [digit.label for digit in load_unipen(tmp_path)] == ["1", "7"]
    assert sorted(tmp_path.rglob("*")) == before


def test_the_folder_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "unipen", MINIATURE)
    monkeypatch.setenv("VITRINE_DATA_DIR", str(tmp_path))
    assert find_unipen() == tmp_path / "unipen"


def test_what_is_missing_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"get train_r01_v07 from Zenodo record 1195803.* into a folder"):
        load_unipen()
    with pytest.raises(DataError, match=f"{tmp_path} has no UNIPEN: get train_r01_v07 .* into {tmp_path}"):
        load_unipen(tmp_path)
    with pytest.raises(DataError, match="no character of '0123456789'"):
        load_unipen(write(tmp_path, {"data/1a/abc/w1.dat": ".VERSION 1.0\n"}))


def test_two_archives_are_too_many(tmp_path: Path) -> None:
    for name in ("train_r01_v07.tar.xz", "train_r01_v07-digits.tar.xz"):
        pack(tmp_path / name, MINIATURE)
    with pytest.raises(DataError, match=r"several archives of UNIPEN \(train_r01_v07-digits.tar.xz, train_r01_v07"):
        load_unipen(tmp_path)


def test_strokes_have_their_writer_and_grow_downwards(tmp_path: Path) -> None:
    first, second = load_unipen(write(tmp_path, MINIATURE))
    assert (first.label, first.contributor, first.writer) == ("1", "abc", "abc/w-1")
    assert first.strokes[0].tolist() == [[0, 0], [1, -10], [2, -20]]
    assert [stroke.tolist() for stroke in second.strokes] == [[[0, 0], [1, -10], [2, -20]], [[5, -5], [6, -6]]]


def test_a_writer_without_a_name_is_called_as_the_file(tmp_path: Path) -> None:
    (character,) = characters(tmp_path, INK.replace(".WRITER_ID w-1\n", ""), '.SEGMENT CHARACTER 0 ? "1"')
    assert character.writer == "abc/w1"


@pytest.mark.parametrize(
    ("delineation", "points"),
    [
        ("0", [3]),
        ("0-1", [3, 2]),
        ("1,0", [2, 3]),
        ("0:1-1:0", [2, 1]),
        ("0:1-0:2", [2]),
        ("0:1-1", [2, 2]),
        ("0-1:0", [3, 1]),
        ("0:2", [1]),
        ("0 - 1", [3, 2]),
        ("0,\n1", [3, 2]),
    ],
)
def test_components_may_be_named_in_every_form(tmp_path: Path, delineation: str, points: list[int]) -> None:
    strokes = one(tmp_path, INK, f'.SEGMENT CHARACTER {delineation} ? "7"')
    assert [len(stroke) for stroke in strokes] == points


@pytest.mark.parametrize("rest", ['? "7"', 'OK "7"', '"7"', '?\n"7"', '? "\\7"', '? "7" "a note"'])
def test_labels_may_stand_in_every_form(tmp_path: Path, rest: str) -> None:
    assert len(one(tmp_path, INK, f".SEGMENT CHARACTER 0-1 {rest}")) == 2


def test_words_and_other_characters_are_left_out(tmp_path: Path) -> None:
    others = '.SEGMENT WORD 0-1 ? "7"\n.SEGMENT CHARACTER 9 ? "a"\n.SEGMENT CHARACTER ? ? "1"\n.SEGMENT CHARACTER 1\n'
    assert one(tmp_path, INK, others + '.SEGMENT CHARACTER 1 ? "1"') == [[[5, -5], [6, -6]]]


def test_other_characters_are_read_where_they_are_wanted(tmp_path: Path) -> None:
    write(tmp_path, MINIATURE | {"data/1a/abc/w1.dat": SEGMENTS.replace('"7"', '"a"')})
    assert [character.label for character in load_unipen(tmp_path, "abc")] == ["a"]


def test_movements_of_a_lifted_pen_count_as_components_and_leave_no_ink(tmp_path: Path) -> None:
    lifted = INK.replace("2 20\n.PEN_UP\n", "2 20\n.PEN_UP\n3 15\n4 10\n")
    assert one(tmp_path, lifted, '.SEGMENT CHARACTER 0-2 ? "7"') == [[[0, 0], [1, -10], [2, -20]], [[5, -5], [6, -6]]]
    assert one(tmp_path, lifted, '.SEGMENT CHARACTER 2 ? "1"') == [[[5, -5], [6, -6]]]
    assert "the pen is nowhere down in 1" in refusal(tmp_path, lifted, '.SEGMENT CHARACTER 1 ? "1"')


def test_a_component_without_points_isnt_counted(tmp_path: Path) -> None:
    ink = INK.replace(".PEN_DOWN\n0 0", ".PEN_DOWN\n.PEN_UP\n.PEN_DOWN\n0 0")
    assert len(one(tmp_path, ink, '.SEGMENT CHARACTER 0 ? "1"')[0]) == 3


def test_coordinates_come_in_the_order_that_the_file_says(tmp_path: Path) -> None:
    ink = ".COORD T Y P X\n.PEN_DOWN\n100 2 50 1\n  110\t4 60 3\n.PEN_UP\n"
    assert one(tmp_path, ink, '.SEGMENT CHARACTER 0 ? "1"') == [[[1, -2], [3, -4]]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8", "latin-1"])
def test_files_may_have_any_line_end_and_encoding(tmp_path: Path, encoding: str, end: str) -> None:
    ink = INK.replace("somebody's", "Zoë\x85\x0c's").replace("\n", end).encode(encoding)
    files = MINIATURE | {"data/1a/abc/w1.dat": SEGMENTS.replace("\n", end)}
    assert len(load_unipen(write(tmp_path, files | {"include/abc/data/w1.dat": ink}))) == 2


def test_included_files_may_include_others(tmp_path: Path) -> None:
    files = {
        "data/1a/abc/w1.dat": SEGMENTS,
        "include/abc/data/w1.dat": ".INCLUDE abc/lib\\pen.txt\n" + INK[INK.index(".PEN_DOWN") :],
        "include/abc/lib/pen.txt": INK[: INK.index(".PEN_DOWN")],
    }
    assert [digit.writer for digit in load_unipen(write(tmp_path, files))] == ["abc/w-1"] * 2


def test_a_file_that_includes_itself_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, INK + ".INCLUDE abc/ink.dat\n", '.SEGMENT CHARACTER 0 ? "1"')
    assert "include/abc/ink.dat, line 17: include/abc/ink.dat includes itself" in message


def test_includes_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unipen_format, "MAX_INCLUDES", 3)
    message = refusal(tmp_path, ".VERSION 1.0\n", ".INCLUDE abc/ink.dat\n" * 3)
    assert "data/1a/abc/w1.dat, line 4: data/1a/abc/w1.dat includes more than 3 files" in message


@pytest.mark.parametrize("name", ["/etc/passwd", "../../secret", "abc/../../secret", "..\\secret", ""])
def test_an_include_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"secret": INK})
    assert "isn't a name below include" in refusal(tmp_path, f".INCLUDE {name}\n", "")


def test_a_link_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "here", MINIATURE)
    (folder / "include/abc/data/w1.dat").rename(tmp_path / "secret")
    (folder / "include/abc/data/w1.dat").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match="lies outside of"):
        load_unipen(folder)


DAMAGED = {
    "include/abc/ink.dat, line 9: a point isn't 2 numbers": INK.replace("0 0\n", "0 nought\n"),
    "include/abc/ink.dat, line 10: a point isn't 2 numbers": INK.replace("1 10\n", "1\n"),
    "include/abc/ink.dat, line 11: a point isn't 2 numbers": INK.replace("2 20\n", "2 inf\n"),
    "include/abc/ink.dat, line 7: the coordinates 'X P' have no X and Y": INK.replace("X Y", "X P"),
    "include/abc/ink.dat, line 7: points come before .COORD": INK.replace(".COORD X Y\n", ""),
    "data/1a/abc/w1.dat, line 2: 0-1 goes beyond the 1 components": INK[: INK.index("5 5")],
}


@pytest.mark.parametrize("message", DAMAGED)
def test_damage_is_named_with_its_file_and_line(tmp_path: Path, message: str) -> None:
    assert message in refusal(tmp_path, DAMAGED[message], '.SEGMENT CHARACTER 0-1 ? "7"')


@pytest.mark.parametrize(
    ("delineation", "message"),
    [
        ("2", "2 goes beyond the 2 components"),
        ("1-0", "1-0 goes beyond"),
        ("0-", "'0-' names no components"),
        ("0,", "'' names no components"),
        ("0:3", "component 0 has only 3 points"),
        ("0-1:2", "component 1 has only 2 points"),
    ],
)
def test_a_segment_of_what_isnt_there_is_named(tmp_path: Path, delineation: str, message: str) -> None:
    refused = refusal(tmp_path, INK, f'.SEGMENT CHARACTER {delineation} ? "7"')
    assert refused.startswith("data/1a/abc/w1.dat, line 2: ")
    assert message in refused


def test_a_missing_included_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"w1\.dat, line 2: there is no include/abc/data/w1\.dat to include"):
        load_unipen(write(tmp_path, {"data/1a/abc/w1.dat": SEGMENTS}))


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    path = pack(tmp_path / "train_r01_v07.tar.xz", MINIATURE)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=f"{path} is damaged"):
        load_unipen(tmp_path)
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match=f"{path} is damaged"):
        load_unipen(path)


@pytest.mark.parametrize("name", ["/data/1a/abc/w1.dat", "data/1a/../../w1.dat"])
def test_an_archive_with_names_that_lead_out_of_it_is_refused(tmp_path: Path, name: str) -> None:
    path = pack(tmp_path / "train_r01_v07.tar.xz", {name: INK}, root="")
    with pytest.raises(DataError, match=r"isn't safe: the name .* leads out of it"):
        load_unipen(path)


def test_an_archive_with_links_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train_r01_v07.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("train_r01_v07/data/1a/abc/w1.dat")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(DataError, match=r"isn't safe: train_r01_v07/data/1a/abc/w1\.dat is a link or a device"):
        load_unipen(path)


def test_a_file_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unipen_files, "MAX_FILE", 100)
    path = pack(tmp_path / "train_r01_v07.tar.xz", MINIATURE)
    with pytest.raises(DataError, match=r"is too large: stopped at train_r01_v07/include/abc/data/w1\.dat of"):
        load_unipen(path)
    with pytest.raises(DataError, match=r"w1\.dat has more than 100 bytes"):
        load_unipen(write(tmp_path / "folder", MINIATURE))
