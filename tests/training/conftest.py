"""Fixtures of the training tests: a cache of their own, and small data sets."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from vitrine.training import Dataset, Examples, held_out_digit_images
from vitrine.training.data.mnist import FILES

torch.set_num_threads(1)  # tests run side by side; more threads each would only get in each other's way

DIGITS = 3
"""The toy data show 0, 1 and 2."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Isolates tests from the cache and the data folder of the person who runs them."""
    monkeypatch.setenv("VITRINE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("VITRINE_DATA_DIR", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def toy() -> Dataset:
    """Three shapes under noise, learnt in a few epochs of a few milliseconds."""
    generator = np.random.default_rng(0)
    shapes = generator.integers(0, 256, (DIGITS, 18, 18))
    return Dataset("toy", _noisy(shapes, 90, generator), _noisy(shapes, 30, generator))


def _noisy(shapes: np.ndarray, count: int, generator: np.random.Generator) -> Examples:
    labels = np.arange(count) % len(shapes)
    pixels = (shapes[labels] + generator.normal(0, 60, (count, 18, 18))).clip(0, 255)
    return Examples(pixels.astype(np.uint8), labels.astype(np.int64))


@pytest.fixture
def draw() -> Callable[[int, int], np.ndarray]:
    """Draws image `number` of a class as a 12 × 12 grey image, dark on white: one bar, a little different each time."""

    def bar(label: int, number: int) -> np.ndarray:
        image = np.full((12, 12), 255, np.uint8)
        image[2 : 9 + number % 2, 3 : 4 + 2 * label] = number % 50
        return image

    return bar


@pytest.fixture
def bars(tmp_path: Path, draw: Callable[[int, int], np.ndarray]) -> Path:
    """A folder of images of three classes."""
    for label in range(3):
        (tmp_path / "bars" / str(label)).mkdir(parents=True)
        for number in range(8):
            Image.fromarray(draw(label, number)).save(tmp_path / "bars" / str(label) / f"{number}.png")
    return tmp_path / "bars"


@pytest.fixture(scope="session")
def digits() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Held-out embedded digits, as large as MNIST's: 20 pixels of digit in a field of 28."""
    images, labels = held_out_digit_images()
    resized = [Image.fromarray(255 - image[:, 2:-2]).resize((15, 20), Image.Resampling.BICUBIC) for image in images]
    return np.stack([np.pad(np.asarray(image), ((4, 4), (6, 7))) for image in resized]), labels


@pytest.fixture
def mnist(tmp_path: Path, digits: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]) -> Path:
    """MNIST's four files with other images, and the files of their writers."""
    images, labels = digits
    parts = (images[:24], labels[:24].astype(np.uint8), images[24:30], labels[24:30].astype(np.uint8))
    for name, values in zip((file.name for file in FILES), parts, strict=True):
        header = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
        (tmp_path / name.removesuffix(".gz")).write_bytes(header + values.tobytes())
    np.savez(tmp_path / "writers.npz", train_writer=np.repeat(np.arange(12), 2))
    return tmp_path


@pytest.fixture
def pen_data(tmp_path: Path) -> Path:
    """A distribution of UNIPEN: the contributor `abc` with six writers of 2 to 7 digits, and `xyz` with one of 4."""
    for contributor, writers in (("abc", 6), ("xyz", 1)):
        folder = tmp_path / "unipen" / "data" / "1a" / contributor
        folder.mkdir(parents=True)
        for writer in range(writers):
            count = 2 + writer if writers > 1 else 4
            ink = [_pen_stroke(contributor, writer, number) for number in range(count)]
            segments = [f'.SEGMENT CHARACTER {number} ? "{number % DIGITS}"' for number in range(count)]
            lines = [f".WRITER_ID {writer}", ".COORD X Y", *ink, *segments, ""]
            (folder / f"w{writer}.dat").write_text("\n".join(lines))
    return tmp_path / "unipen"


def _pen_stroke(contributor: str, writer: int, number: int) -> str:
    """A bent line that nobody else has drawn, as a part between pen down and pen up."""
    places = [
        (90, 900),
        (100 + 40 * (number % DIGITS), 700 - writer),
        (110 + number, 500 + 9 * writer + ord(contributor[0])),
    ]
    return "\n".join([".PEN_DOWN", *(f"{x} {y}" for x, y in places), ".PEN_UP"])
