"""The stress set: the same files from the same seed, and digits that a model still recognises in them."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from vitrine.model import ArtifactError, prepare
from vitrine.training import RECIPES, load_dataset
from vitrine.training.cli import main
from vitrine.training.data import load_mnist_images, split
from vitrine.training.rendering.stress import (
    CONDITIONS,
    EVERY_CONDITION,
    FORM_CONDITIONS,
    measure_stress,
    render,
    render_form,
)
from vitrine.training.rendering.stress.accuracy import SHEET_MARGIN
from vitrine.training.rendering.stress.strokes import fine_pen_strokes, marker_strokes, pen_strokes, thin

BUNDLED = Path(__file__).parents[2] / "server" / "vitrine" / "server" / "bundled" / "digits.onnx"


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_seed_and_a_number_mean_one_file(condition: str, digits: tuple[npt.NDArray[np.uint8], object]) -> None:
    digit = digits[0][0]
    file = render(condition, digit, seed=3, number=5)
    assert file == render(condition, digit, seed=3, number=5)
    if condition != "clean":
        assert file != render(condition, digit, seed=3, number=6)
        assert file != render(condition, digit, seed=4, number=5)
    with Image.open(io.BytesIO(file)) as image:
        assert 28 <= image.width <= 4000


def test_the_bundled_model_recognises_digits_under_every_condition(
    digits: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]],
) -> None:
    names = [name for name in CONDITIONS if name not in ("phone_photo", "any_size")]  # the two that are slow to render
    outcomes = measure_stress(BUNDLED, *digits, names, count=12, seed=0, progress=False)
    assert [outcome.condition for outcome in outcomes] == names
    weak = {outcome.condition: outcome.accuracy for outcome in outcomes if outcome.accuracy < 0.5}
    assert not weak


@pytest.mark.parametrize("form", FORM_CONDITIONS)
def test_a_form_is_one_file_for_a_seed_and_a_number_and_is_left_once_it_is_prepared(form: str) -> None:
    file = render_form(form, seed=3, number=5)
    assert file == render_form(form, seed=3, number=5)
    assert file != render_form(form, seed=3, number=6)
    assert prepare(file).any()


def test_a_form_is_right_when_its_own_digit_is_read(
    digits: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]],
) -> None:
    assert set(EVERY_CONDITION) == set(CONDITIONS) | set(FORM_CONDITIONS)
    forms = ["2 with loop", "3 with flat top", "6 straight", "8 of two rings"]
    outcomes = measure_stress(BUNDLED, *digits, forms, count=12, seed=0, progress=False)
    assert [outcome.condition for outcome in outcomes] == forms
    assert all(outcome.accuracy > 0.7 for outcome in outcomes)


def test_pens_differ_in_width_and_not_in_place(digits: tuple[npt.NDArray[np.uint8], object]) -> None:
    digit = digits[0][0]
    fine, pen, marker = fine_pen_strokes(digit, 280, 2), pen_strokes(digit, 280), marker_strokes(digit, 280, 5.0)
    assert 0 < fine.sum() < pen.sum() < marker.sum()
    assert (fine > 0.5)[pen < 0.1].mean() < 0.02
    assert marker[pen > 0.9].min() > 0.5


def test_thinning_leaves_lines_of_one_pixel_that_hang_together() -> None:
    mask = np.zeros((20, 30), np.bool_)
    mask[5:12, 4:26] = True
    line = thin(mask)
    assert line.sum(axis=0).max() == 1
    assert 14 <= line.sum() <= 22
    columns = np.flatnonzero(line.any(axis=0))
    assert (np.diff(columns) == 1).all()


def stress(mnist: Path, *words: str | Path) -> Result:
    arguments = ("stress", BUNDLED, "--data-dir", mnist, "--condition", "clean", "--condition", "drawing", "--quiet")
    return CliRunner().invoke(main, [str(word) for word in (*arguments, *words)])


def test_the_validation_part_has_all_images_of_the_writers_that_fits_hold_out(mnist: Path) -> None:
    result = stress(mnist, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert [condition["condition"] for condition in figures["conditions"]] == ["clean", "drawing"]
    assert [condition["count"] for condition in figures["conditions"]] == [4, 4]  # writers 0 and 10, two images each
    assert figures["conditions"][0]["recognised"] >= 3


def test_no_recipe_learns_from_the_validation_part(mnist: Path) -> None:
    train = load_dataset("mnist", mnist, progress=False).train
    images, _ = load_mnist_images("validation", mnist)
    measured = {prepare(image).tobytes() for image in images}
    for config in RECIPES.values():
        kept, _ = split(train, config.validation, config.seed)
        assert measured.isdisjoint(pixels.tobytes() for pixels in train.pixels[kept])


def test_the_test_part_needs_no_writers(mnist: Path) -> None:
    (mnist / "writers.npz").unlink()
    result = stress(mnist, "--split", "test")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1].split()[:2] == ["clean", "6"]
    missing = stress(mnist)
    assert missing.exit_code == 1
    assert missing.stderr.startswith("Error: there is no ")
    assert "take the test split" in missing.stderr


@pytest.mark.parametrize("damage", [b"", b"PK", b"no archive"])
def test_damaged_writers_are_an_error_that_names_the_file(mnist: Path, damage: bytes) -> None:
    (mnist / "writers.npz").write_bytes(damage)
    result = stress(mnist)
    assert result.exit_code == 1
    assert "writers.npz is damaged" in result.stderr


def test_the_sheet_shows_ten_digits_of_each_condition(mnist: Path, tmp_path: Path) -> None:
    result = stress(mnist, "--split", "test", "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (SHEET_MARGIN + 10 * 96, 2 * 96)


def test_a_file_that_is_no_model_is_an_error_that_names_it(mnist: Path) -> None:
    (mnist / "model.onnx").write_bytes(b"no model")
    words = ("stress", str(mnist / "model.onnx"), "--data-dir", str(mnist), "--quiet")
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {mnist / 'model.onnx'} cannot be loaded")


def test_a_model_of_other_classes_than_digits_is_refused(arrows_artifact: Path, digits: tuple[Any, Any]) -> None:
    with pytest.raises(ArtifactError, match=r"shows digits, but .* has the classes up, down, left, right"):
        measure_stress(arrows_artifact, *digits, ("clean",), 1, 0, progress=False)
