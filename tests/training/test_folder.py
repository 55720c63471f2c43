"""A folder of one's own images as a data set."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitrine.model import ImageError, prepare
from vitrine.training import DataError, load_dataset

Draw = Callable[[int, int], np.ndarray]


@pytest.fixture
def folder(tmp_path: Path, draw: Draw) -> Path:
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(10):
            Image.fromarray(draw(label, number)).save(tmp_path / "pets" / name / f"{number}.png")
    return tmp_path / "pets"


def test_each_subfolder_is_a_class_and_gives_a_fifth_of_its_images_to_the_test(folder: Path) -> None:
    dataset = load_dataset(folder, progress=False)
    assert (dataset.name, dataset.classes, dataset.source) == ("pets", ("cat", "dog"), str(folder))
    np.testing.assert_array_equal(np.bincount(dataset.train.labels), [8, 8])
    np.testing.assert_array_equal(np.bincount(dataset.test.labels), [2, 2])


def test_the_pixels_are_those_that_a_server_would_see(folder: Path) -> None:
    dataset = load_dataset(folder, progress=False)
    seen = {prepare(path).tobytes() for path in (folder / "cat").iterdir()}
    assert {pixels.tobytes() for pixels in dataset.train.pixels[dataset.train.labels == 0]} <= seen


def test_the_split_is_the_same_every_time(folder: Path) -> None:
    assert load_dataset(folder, progress=False).digest() == load_dataset(folder, progress=False).digest()


def test_notes_and_hidden_files_are_passed_over(folder: Path) -> None:
    (folder / "cat" / "notes.txt").write_text("nice cats")
    (folder / "cat" / ".hidden.png").write_text("no image")
    (folder / ".git").mkdir()
    assert len(load_dataset(folder, progress=False).train) == 16


def test_a_changed_image_is_prepared_anew(folder: Path, draw: Draw) -> None:
    before = load_dataset(folder, progress=False).digest()
    for path in (folder / "cat").iterdir():
        Image.fromarray(draw(5, 0)).save(path)
    assert load_dataset(folder, progress=False).digest() != before


def test_a_damaged_image_is_an_error_that_names_it(folder: Path) -> None:
    (folder / "dog" / "3.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"dog/3\.png can't be read"):
        load_dataset(folder, progress=False)


def test_a_class_with_too_few_images_is_an_error_that_names_it(folder: Path) -> None:
    (folder / "emu").mkdir()
    with pytest.raises(DataError, match="emu has 0 images: a class needs at least 3"):
        load_dataset(folder, progress=False)


def test_a_folder_without_classes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="each class needs one"):
        load_dataset(tmp_path, progress=False)


def test_an_unknown_name_is_an_error_that_says_what_there_is() -> None:
    with pytest.raises(DataError, match="no data set mnits: it is neither digits nor mnist, nor a folder"):
        load_dataset("mnits")
