"""Folders that are divided into `train` and `test`, and runs that go on to more epochs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from vitrine.model import prepare
from vitrine.training import CheckpointError, DataError, FitConfig, fit, load_dataset


def draw(path: Path, number: int, *, upright: bool) -> None:
    """A stroke: upright or level, at another place for each number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", (40, 40), 255)
    at = 8 + 3 * number
    ends = (at, 5, at, 35) if upright else (5, at, 35, at)
    ImageDraw.Draw(image).line(ends, fill=0, width=3 + number % 3)
    image.save(path)


@pytest.fixture
def divided(tmp_path: Path) -> Path:
    folder = tmp_path / "strokes"
    for part, numbers in (("train", range(6)), ("test", range(6, 8))):
        for label in ("level", "upright"):
            for number in numbers:
                draw(folder / part / label / f"{number}.png", number, upright=label == "upright")
    return folder


def test_a_divided_folder_keeps_its_division(divided: Path) -> None:
    dataset = load_dataset(str(divided), progress=False)
    assert dataset.classes == ("level", "upright")
    assert (len(dataset.train), len(dataset.test)) == (12, 4)
    np.testing.assert_array_equal(np.bincount(dataset.test.labels), [2, 2])
    expected = sorted(prepare(file).tobytes() for file in (divided / "test").rglob("*.png"))
    assert sorted(pixels.tobytes() for pixels in dataset.test.pixels) == expected


def test_an_image_on_both_sides_is_refused(divided: Path) -> None:
    (divided / "test" / "level" / "again.png").write_bytes((divided / "train" / "level" / "0.png").read_bytes())
    with pytest.raises(DataError, match=r"the same image in train and in test, such as .*again\.png"):
        load_dataset(str(divided), progress=False)


def test_a_class_on_one_side_only_is_refused(divided: Path) -> None:
    for number in range(3):
        draw(divided / "train" / "third" / f"{number}.png", number, upright=True)
    with pytest.raises(DataError, match="in one of train and test only: third"):
        load_dataset(str(divided), progress=False)


def test_classes_that_are_called_train_and_test_are_classes(tmp_path: Path) -> None:
    for label in ("train", "test"):
        for number in range(5):
            draw(tmp_path / label / f"{number}.png", number, upright=label == "train")
    assert load_dataset(str(tmp_path), progress=False).classes == ("test", "train")


def test_a_finished_run_goes_on_to_more_epochs_and_never_to_fewer(divided: Path, tmp_path: Path) -> None:
    dataset = load_dataset(str(divided), progress=False)
    config = FitConfig(hidden=(8,), epochs=2, batch_size=4, device="cpu")
    fit(dataset, config, tmp_path / "run", progress=False)
    more = FitConfig(hidden=(8,), epochs=4, batch_size=4, device="cpu")
    run = fit(dataset, more, tmp_path / "run", resume=True, progress=False)
    assert [epoch.number for epoch in run.checkpoint.history] == [1, 2, 3, 4]
    assert run.finished
    with pytest.raises(CheckpointError, match="epochs 4, not 2"):
        fit(dataset, config, tmp_path / "run", resume=True, progress=False)
