"""UNIPEN's digits become examples: drawn with several pens, with their sources, some writers held out."""

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vitrine.training import DataError, load_dataset
from vitrine.training.data import load_unipen, pen_digits, without_repeats
from vitrine.training.data.pen_digits import DRAWINGS, draw_digits, load_pen_digits
from vitrine.training.data.unipen import WrittenCharacter, is_part

REAL = Path(os.environ.get("VITRINE_DATA_DIR", "/nowhere")) / "unipen"


def written(*strokes: list[tuple[float, float]]) -> WrittenCharacter:
    return WrittenCharacter("4", "abc", "abc/1", tuple(np.array(stroke, np.float32) for stroke in strokes))


def test_each_digit_is_drawn_with_several_pens(pen_data: Path) -> None:
    train = load_pen_digits(pen_data, progress=False).train
    assert train.drawings is not None
    np.testing.assert_array_equal(train.drawings, np.tile(np.arange(DRAWINGS), len(train) // DRAWINGS))
    for first in range(0, len(train), DRAWINGS):
        assert len({pixels.tobytes() for pixels in train.pixels[first : first + DRAWINGS]}) == DRAWINGS
        assert len(set(train.labels[first : first + DRAWINGS].tolist())) == 1


def test_a_fifth_of_each_contributors_writers_is_held_out_the_most_prolific_last(pen_data: Path) -> None:
    dataset = load_pen_digits(pen_data, progress=False)
    counts = {
        part: {name: len(m) // DRAWINGS for name, m in getattr(dataset, part).members().items()}
        for part in ("train", "test")
    }
    assert counts == {"train": {"unipen/abc": 3 + 4 + 5 + 6}, "test": {"unipen/abc": 2 + 7, "unipen/xyz": 4}}
    assert dataset.train.writers is not None
    assert dataset.test.writers is not None
    assert not set(dataset.train.writers) & set(dataset.test.writers)


def test_drawings_are_the_same_every_time_and_made_once(pen_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_pen_digits(pen_data, progress=False)
    monkeypatch.setattr(pen_digits, "draw_by_chance", lambda *_arguments: pytest.fail("drawn again"))
    again = load_pen_digits(pen_data, progress=False)
    assert first.digest() == again.digest()


def test_other_strokes_are_drawn_anew(pen_data: Path) -> None:
    digits = load_unipen(pen_data)
    moved = [replace(digits[0], strokes=tuple(stroke * (1, 2) for stroke in digits[0].strokes)), *digits[1:]]
    before, after = (draw_digits(each, progress=False) for each in (digits, moved))
    assert not np.array_equal(before.pixels[0], after.pixels[0])
    np.testing.assert_array_equal(before.pixels[DRAWINGS:], after.pixels[DRAWINGS:])


def test_a_drawing_in_the_corner_of_its_own_box_may_be_part_of_a_digit() -> None:
    assert is_part(written([(0, -40), (30, 0)]))
    assert is_part(written([(12, -40), (30, 0)], [(0, -20), (40, -20)]))
    assert not is_part(written([(1, -40), (30, 0)]))
    assert not is_part(written([(0, -40), (30, -1)]))


def test_parts_of_digits_are_left_out(pen_data: Path) -> None:
    file = pen_data / "data" / "1a" / "abc" / "w3.dat"
    text = re.sub(r"^90 900$", "0 900", file.read_text(), flags=re.MULTILINE)
    file.write_text(re.sub(r"^(\d+) [56]\d\d$", r"\1 0", text, flags=re.MULTILINE))
    digits = load_unipen(pen_data)
    parts = [each for each in digits if is_part(each)]
    assert {each.writer for each in parts} == {"abc/3"}
    dataset = load_pen_digits(pen_data, progress=False)
    assert len(dataset.train) + len(dataset.test) == DRAWINGS * (len(digits) - len(parts))


@pytest.mark.skipif(not REAL.is_dir(), reason="needs UNIPEN")
def test_only_ibm_has_parts_of_digits() -> None:
    digits = without_repeats(load_unipen(REAL))
    assert [sum(is_part(each) for each in digits if (each.contributor == "ibm") is ibm) for ibm in (True, False)] == [
        379,
        0,
    ]


def test_a_distribution_of_one_writer_has_nobody_to_hold_out(pen_data: Path) -> None:
    for file in (pen_data / "data" / "1a" / "abc").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="of 1 writers: too few to hold out"):
        load_pen_digits(pen_data, progress=False)


def test_what_is_missing_is_named_with_its_source(tmp_path: Path) -> None:
    for name in ("unipen", "handwriting"):
        with pytest.raises(DataError, match=r"get train_r01_v07 from Zenodo record 1195803.*--data-dir"):
            load_dataset(name, tmp_path, progress=False)
