"""A folder of one's own images as a data set."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitrine.model import DIGITS, ImageError, prepare
from vitrine.training import DataError, Examples, load_dataset
from vitrine.training.errors import BrokenImagesError

Draw = Callable[[int, int], np.ndarray]


@pytest.fixture
def folder(tmp_path: Path, draw: Draw) -> Path:
    for label, name in enumerate(("4", "7")):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for number in range(10):
            Image.fromarray(draw(label, number)).save(tmp_path / "mine" / name / f"{number}.png")
    return tmp_path / "mine"


def test_each_subfolder_is_a_class_and_gives_a_fifth_of_its_images_to_the_test(folder: Path) -> None:
    dataset = load_dataset(folder, progress=False)
    assert (dataset.name, dataset.source) == ("mine", str(folder))
    assert dataset.classes == ("4", "7")
    np.testing.assert_array_equal(np.bincount(dataset.train.labels), [8, 8])
    np.testing.assert_array_equal(np.bincount(dataset.test.labels), [2, 2])


def test_the_pixels_are_those_that_a_server_would_see(folder: Path) -> None:
    dataset = load_dataset(folder, progress=False)
    seen = {prepare(path).tobytes() for path in (folder / "4").iterdir()}
    assert {pixels.tobytes() for pixels in dataset.train.pixels[dataset.train.labels == 0]} <= seen


def test_the_split_is_the_same_every_time(folder: Path) -> None:
    assert load_dataset(folder, progress=False).digest() == load_dataset(folder, progress=False).digest()


def test_notes_and_hidden_files_are_passed_over(folder: Path) -> None:
    (folder / "4" / "notes.txt").write_text("nice fours")
    (folder / "4" / ".hidden.png").write_text("no image")
    (folder / ".git").mkdir()
    assert len(load_dataset(folder, progress=False).train) == 16


def test_folders_that_systems_make_and_links_to_a_folder_above_are_no_classes(folder: Path) -> None:
    for name in ("__MACOSX", "lost+found", ".hidden"):
        shutil.copytree(folder / "4", folder / name)
    (folder / "latest").symlink_to(folder)
    (folder / "above").symlink_to(folder.parent, target_is_directory=True)
    (folder / "linked").symlink_to(folder / "4", target_is_directory=True)
    assert load_dataset(folder, progress=False).classes == ("4", "7", "linked")


def test_files_that_may_be_meant_as_images_are_counted_in_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store"):
        (folder / "4" / name).touch()
    load_dataset(folder, progress=False)
    assert caplog.text == ""
    shutil.copytree(folder / "4", folder / "7" / "deeper")
    (folder / "4" / "photo.heic").touch()
    load_dataset(folder, progress=False)
    assert "images in folders within a class: 10; ignored files without an image's suffix: 1" in caplog.text


def test_equal_images_in_two_classes_and_classes_without_ink_are_warned_of(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(folder / "4" / "0.png", folder / "7" / "same.png")
    for number in range(3):
        (folder / "empty").mkdir(exist_ok=True)
        Image.new("L", (12 + number, 12), 255).save(folder / "empty" / f"{number}.png")
        shutil.copy(folder / "empty" / f"{number}.png", folder / "4" / f"empty {number}.png")
    load_dataset(folder, progress=False)
    assert "classes whose images are all empty paper: 1, such as empty" in caplog.text
    assert "images that are equal in several classes: 1, such as of 4 and 7" in caplog.text


def test_all_unreadable_images_are_named_together(folder: Path) -> None:
    for label, number in (("4", 0), ("7", 3)):
        (folder / label / f"{number}.png").write_bytes(f"no image {number}".encode())
    with pytest.raises(BrokenImagesError, match="2 images can't be used") as error:
        load_dataset(folder, progress=False)
    assert all(name in str(error.value) for name in ("4/0.png can't be read", "7/3.png can't be read"))
    assert len(error.value.problems) == 2
    again = pickle.loads(pickle.dumps(error.value))
    assert (str(again), again.problems) == (str(error.value), error.value.problems)


def test_many_unreadable_images_are_counted_the_first_are_named_and_all_are_listed_in_a_file(
    folder: Path, cache: Path
) -> None:
    for number in range(300):  # more than are prepared at a time
        (folder / "4" / f"bad {number}.png").write_bytes(f"no image {number}".encode())
    with pytest.raises(ImageError) as error:
        load_dataset(folder, progress=False)
    text, listed = str(error.value), cache / "broken" / "mine.txt"
    assert text.startswith("300 images can't be used: ")
    assert text.count("can't be read") == 10
    assert text.endswith(f"and 290 more; all are listed in {listed}")
    lines = listed.read_text().splitlines()
    assert len(lines) == 300
    assert {line for number in range(300) for line in lines if f"bad {number}.png" in line} == set(lines)


def test_an_example_knows_its_file(folder: Path) -> None:
    dataset = load_dataset(folder, progress=False)
    for part in (dataset.train, dataset.test):
        assert part.files is not None
        for file, pixels in zip(part.files, part.pixels, strict=True):
            np.testing.assert_array_equal(prepare(folder / str(file)), pixels)
    together = dataset.train + dataset.test
    assert together.files is not None
    assert len(set(together.files)) == len(together) == 20


def test_all_labels_that_no_class_can_have_are_named_together(folder: Path) -> None:
    with pytest.raises(DataError, match=r"it has a class ' c': .*; it has a class 'a\\nb'"):
        load_dataset(with_labels(folder, "a\nb", " c"), progress=False)
    for label in ("a\nb", " c"):
        shutil.rmtree(folder / label)
    for label in ("5", "6"):
        (folder / label).mkdir()
    with pytest.raises(DataError, match=r"5 has no different images.*; .*6 has no different images"):
        load_dataset(folder, progress=False)


@pytest.mark.parametrize(("label", "other"), [("\xe9", "e\u0301"), ("cat", "cat "), ("cat", " cat")])
def test_labels_that_look_the_same_are_an_error_that_names_both_folders(folder: Path, label: str, other: str) -> None:
    with pytest.raises(DataError, match="has two folders with the same label") as error:
        load_dataset(with_labels(folder, label, other), progress=False)
    assert ascii(label) in str(error.value)
    assert ascii(other) in str(error.value)


def test_a_changed_image_is_prepared_anew(folder: Path, draw: Draw) -> None:
    before = load_dataset(folder, progress=False).digest()
    Image.fromarray(draw(5, 0)).save(folder / "4" / "3.png")
    assert load_dataset(folder, progress=False).digest() != before


def test_a_damaged_image_is_an_error_that_names_it(folder: Path) -> None:
    (folder / "7" / "3.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"7/3\.png can't be read"):
        load_dataset(folder, progress=False)


def test_a_digit_with_too_few_different_images_is_an_error_that_names_it(folder: Path) -> None:
    (folder / "0").mkdir()
    for copy in range(3):
        shutil.copy(folder / "4" / "0.png", folder / "0" / f"{copy}.png")
    with pytest.raises(DataError, match="0 has 1 different image, folders in it not counted: a class needs at least 3"):
        load_dataset(folder, progress=False)


def test_files_that_arent_read_are_named_where_images_are_too_few(folder: Path) -> None:
    for label in ("4", "7"):
        for image in (folder / label).iterdir():
            image.rename(image.with_suffix(".heic"))
    with pytest.raises(
        DataError, match=r"4 has no different images.*files such as 0\.heic aren't read: save them as PNG"
    ):
        load_dataset(folder, progress=False)


def with_labels(folder: Path, *labels: str) -> Path:
    """The folder with other labels beside its two: copies of its images."""
    for label in labels:
        shutil.copytree(folder / "4", folder / label)
    return folder


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["0"], ("0", "4", "7")),
        (["0", "1", "2", "3", "5", "6", "8", "9"], DIGITS),
        (["cat", "Auto"], ("4", "7", "Auto", "cat")),
        (["10", "9"], ("4", "7", "9", "10")),
        (["٤"], ("4", "7", "٤")),
    ],
)
def test_the_folders_names_are_the_classes(folder: Path, labels: list[str], classes: tuple[str, ...]) -> None:
    dataset = load_dataset(with_labels(folder, *labels), progress=False)
    assert dataset.classes == classes
    expected = np.zeros(len(classes), int)
    expected[[classes.index(label) for label in ("4", "7", *labels)]] = 8
    np.testing.assert_array_equal(np.bincount(dataset.train.labels, minlength=len(classes)), expected)


@pytest.mark.parametrize("label", ["a\nb", "x" * 101])
def test_a_label_that_no_class_can_have_is_an_error_that_names_it(folder: Path, label: str) -> None:
    with pytest.raises(DataError, match="has a folder that can't be a class: it has a class"):
        load_dataset(with_labels(folder, label), progress=False)


def test_a_folder_of_one_class_is_an_error_that_says_what_to_do(folder: Path) -> None:
    shutil.rmtree(folder / "7")
    with pytest.raises(
        DataError, match="has 1 folder of images: two classes or more need one each, named by its label"
    ):
        load_dataset(folder, progress=False)


def test_images_become_pixels_of_the_size_that_is_asked_for(folder: Path) -> None:
    dataset = load_dataset(folder, shape=(12, 20), progress=False)
    assert dataset.shape == (12, 20)
    seen = {prepare(path, shape=(12, 20)).tobytes() for path in (folder / "4").iterdir()}
    assert {pixels.tobytes() for pixels in dataset.train.pixels[dataset.train.labels == 0]} <= seen
    turned = load_dataset(folder, shape=(20, 12), progress=False)
    assert len({each.digest() for each in (dataset, turned, load_dataset(folder, progress=False))}) == 3


@pytest.mark.parametrize(
    ("shape", "says"),
    [((3, 18), "height and width are 4 to 128"), ((18, 129), "4 to 128"), ((4, 40), "at most 8 times the other")],
)
def test_a_size_that_can_not_be_trained_on_is_an_error(folder: Path, shape: tuple[int, int], says: str) -> None:
    with pytest.raises(DataError, match=says):
        load_dataset(folder, shape=shape, progress=False)


def test_a_data_set_of_some_of_a_models_classes_is_read_with_all_of_them(folder: Path) -> None:
    found = load_dataset(with_labels(folder, "cat"), progress=False)
    renumbered = found.with_classes(("cat", "dog", "7", "4"))
    np.testing.assert_array_equal(renumbered.train.labels, np.array([3, 2, 0])[found.train.labels])
    assert renumbered.classes == ("cat", "dog", "7", "4")
    with pytest.raises(DataError, match="mine has the class 'cat'; the model has 4, 7"):
        found.with_classes(("4", "7"))


def contents(examples: Examples) -> list[bytes]:
    return sorted(pixels.tobytes() for pixels in examples.pixels)


def test_names_do_not_matter(folder: Path) -> None:
    before = load_dataset(folder, progress=False)
    for path in list((folder / "4").iterdir()):
        path.rename(path.with_name(f"renamed {99 - int(path.stem)}.png"))
    assert load_dataset(folder, progress=False).digest() == before.digest()


@pytest.mark.parametrize("name", ["!first.png", "z last.png"])
def test_another_image_moves_one_to_the_other_side_at_most(folder: Path, draw: Draw, name: str) -> None:
    before = load_dataset(folder, progress=False)
    Image.fromarray(draw(3, 0)).save(folder / "4" / name)
    after = load_dataset(folder, progress=False)
    assert len(set(contents(before.test)) - set(contents(after.test))) <= 1
    assert len(set(contents(before.train)) - set(contents(after.train))) <= 1


def test_exact_copies_count_once(folder: Path) -> None:
    before = load_dataset(folder, progress=False)
    for path in list((folder / "4").iterdir()):
        shutil.copy(path, path.with_name(f"copy of {path.name}"))
    assert load_dataset(folder, progress=False).digest() == before.digest()


def test_a_folder_that_is_called_like_an_image_is_passed_over(folder: Path) -> None:
    (folder / "4" / "z.png").mkdir()
    assert len(load_dataset(folder, progress=False).train) == 16


def test_a_path_is_a_folder_whatever_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    named_alike = folder.rename(folder.with_name("digits"))
    for meant in (Path("digits"), "./digits"):
        assert load_dataset(meant, progress=False).source == str(named_alike)


def test_a_folder_without_classes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two classes or more need one each"):
        load_dataset(tmp_path, progress=False)


def test_an_unknown_name_is_an_error_that_says_what_there_is() -> None:
    with pytest.raises(DataError, match="no data set mnits: it is neither digits nor mnist, nor a folder"):
        load_dataset("mnits")
