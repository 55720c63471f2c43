"""MNIST's files: found in a folder, downloaded otherwise, and checked against each other."""

import gzip
import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from vitrine.training import DataError, load_dataset
from vitrine.training.data import load_mnist_images, mnist
from vitrine.training.data.download import RemoteFile

NAMES = [file.name for file in mnist.FILES]


def idx(values: np.ndarray) -> bytes:
    return bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def strokes(count: int) -> np.ndarray:
    """Light strokes on black, 28 × 28, each of another length."""
    images = np.zeros((count, 28, 28), np.uint8)
    for number, image in enumerate(images):
        image[5 : 10 + number, 12:15] = 255
    return images


def write_mnist(folder: Path, *, zipped: bool = True, test_labels: Sequence[int] = (7, 8)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    parts = (strokes(5), np.arange(5, dtype=np.uint8), strokes(2), np.array(test_labels, np.uint8))
    for name, values in zip(NAMES, parts, strict=True):
        content = idx(values)
        (folder / (name if zipped else name.removesuffix(".gz"))).write_bytes(
            gzip.compress(content) if zipped else content
        )


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", [".", "mnist"])
def test_the_files_are_found_in_the_folder_or_in_its_mnist(tmp_path: Path, zipped: bool, place: str) -> None:
    write_mnist(tmp_path / place, zipped=zipped)
    dataset = load_dataset("mnist", tmp_path, progress=False)
    assert (len(dataset.train), len(dataset.test)) == (5, 2)
    np.testing.assert_array_equal(dataset.test.labels, [7, 8])


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("form", ["-idx", ".idx"], ids=["torchvision", "Kaggle"])
@pytest.mark.parametrize("place", [".", "mnist", "MNIST", "MNIST/raw", "raw"])
@pytest.mark.parametrize("has_folders", [False, True], ids=["flat", "a folder around each"])
def test_the_files_are_found_under_the_names_of_others(
    tmp_path: Path, zipped: bool, form: str, place: str, has_folders: bool
) -> None:
    write_mnist(tmp_path / place, zipped=zipped)
    for path in sorted((tmp_path / place).glob("*ubyte*")):
        found = path.rename(path.with_name(path.name.replace("-idx", form) + ".moving"))
        name = found.name.removesuffix(".moving")
        if has_folders:
            found.with_name(name).mkdir()
        found.rename(found.with_name(name) / name if has_folders else found.with_name(name))
    images, labels = load_mnist_images("test", tmp_path)
    assert images.shape == (2, 28, 28)
    np.testing.assert_array_equal(labels, [7, 8])


def test_light_ink_on_black_becomes_ink_on_white(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    pixels = load_dataset("mnist", tmp_path, progress=False).train.pixels
    assert pixels[:, 9, 9].min() == 255  # the stroke
    assert pixels[:, :, 0].max() == 0  # the paper


def test_the_folder_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path)
    monkeypatch.setenv("VITRINE_DATA_DIR", str(tmp_path))
    assert load_dataset("mnist", progress=False).source == "mnist"


def test_a_missing_file_is_an_error_that_names_it_and_the_folder(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / NAMES[2]).unlink()
    with pytest.raises(DataError, match=f"{tmp_path} has no {NAMES[2]}"):
        load_dataset("mnist", tmp_path, progress=False)


def test_labels_of_another_number_than_images_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    write_mnist(tmp_path, test_labels=(7, 8, 9))
    with pytest.raises(DataError, match=f"{NAMES[3]} has 3 labels for the 2 images"):
        load_dataset("mnist", tmp_path, progress=False)


def test_a_label_that_is_no_digit_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    write_mnist(tmp_path, test_labels=(7, 10))
    with pytest.raises(DataError, match=f"{NAMES[3]} is damaged: it has the label 10"):
        load_dataset("mnist", tmp_path, progress=False)


def test_a_file_without_images_is_an_error_that_names_it(tmp_path: Path) -> None:
    write_mnist(tmp_path, test_labels=())
    (tmp_path / NAMES[2]).write_bytes(idx(strokes(0)))
    with pytest.raises(DataError, match=f"{NAMES[2]} has no images"):
        load_dataset("mnist", tmp_path, progress=False)


def test_without_a_folder_the_files_are_downloaded_into_the_cache(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(cache / "mnist")  # as an earlier download left them: no mirror is asked
    digests = [hashlib.md5((cache / "mnist" / name).read_bytes()).hexdigest() for name in NAMES]
    monkeypatch.setattr(mnist, "FILES", tuple(map(RemoteFile, NAMES, digests)))
    monkeypatch.setattr(mnist, "MIRRORS", ())
    assert len(load_dataset("mnist", progress=False).train) == 5


def test_there_is_more_than_one_mirror_and_each_is_encrypted() -> None:
    assert len(mnist.MIRRORS) > 1
    assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in mnist.MIRRORS)
