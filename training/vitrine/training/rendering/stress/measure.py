"""How many digits a model recognises in images as people send them, condition by condition.

It knows artifacts by their ONNX file alone, so that any model can be compared, also one that something else trained.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from tqdm import tqdm

from vitrine.model import DIGITS, NOVELTY, ArtifactError, ArtifactMetadata, prepare
from vitrine.training.files.atomic import atomic_file
from vitrine.training.network.runtime import onnxruntime
from vitrine.training.rendering.stress.conditions import render

SHEET_DIGITS = 10
"""How many images of each condition the contact sheet has."""

SHEET_CELL = 96
"""The side of an image's place on the contact sheet, in pixels."""

SHEET_MARGIN = 100
"""The width of the column with the conditions' names."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a model made of one condition."""

    condition: str
    """The condition's name."""
    count: int
    """How many images there were."""
    recognised: int
    """How many of them were taken for the digit that they show."""

    @property
    def accuracy(self) -> float:
        """The share of recognised images, 0 to 1."""
        return self.recognised / self.count

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return {**asdict(self), "accuracy": self.accuracy}


def measure_stress(
    model: Path,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    conditions: Sequence[str],
    count: int,
    seed: int,
    *,
    progress: bool = True,
) -> list[Outcome]:
    """Renders digits under each condition, prepares them, and counts what a model recognises.

    Args:
        model: an ONNX artifact.
        images: uint8 (N, 28, 28), 0 = paper, 255 = ink.
        labels: int64 (N,).
        conditions: names of `CONDITIONS`.
        count: how many digits, chosen by `seed`, the same for each condition; at most N are taken.
        seed: 0 or more.
        progress: whether to show a bar.

    Raises:
        ArtifactError: the model can't be loaded, or has other classes than the digits.
    """
    session = _load(model)
    _, *shape = session.get_inputs()[0].shape
    output = [output.name for output in session.get_outputs() if output.name != NOVELTY][-1]
    chosen = _choose(len(images), count, seed)
    outcomes = []
    for condition in conditions:
        bar = tqdm(images[chosen], condition, unit="image", disable=not progress)
        pixels = np.stack(
            [prepare(render(condition, digit, seed, n), shape=tuple(shape)) for n, digit in enumerate(bar)]
        )
        (scores,) = session.run([output], {"pixels": pixels})  # (N, 10)
        outcomes.append(Outcome(condition, len(chosen), int((scores.argmax(axis=1) == labels[chosen]).sum())))
    return outcomes


def draw_sheet(images: npt.NDArray[np.uint8], conditions: Sequence[str], seed: int, path: Path) -> None:
    """Writes a contact sheet as PNG: a row for each condition, with the first digits of the stress set."""
    chosen = _choose(len(images), SHEET_DIGITS, seed)
    size = (SHEET_MARGIN + SHEET_DIGITS * SHEET_CELL, len(conditions) * SHEET_CELL)
    sheet = Image.new("RGB", size, (225, 228, 233))
    for row, condition in enumerate(conditions):
        ImageDraw.Draw(sheet).text((4, int((row + 0.45) * SHEET_CELL)), condition, (31, 36, 48))
        for column, image in enumerate(_thumbnails(images[chosen], condition, seed)):
            sheet.paste(image, (SHEET_MARGIN + column * SHEET_CELL, row * SHEET_CELL))
    with atomic_file(path) as file:
        sheet.save(file, "PNG", optimize=True)


def _thumbnails(digits: npt.NDArray[np.uint8], condition: str, seed: int) -> Iterator[Image.Image]:
    for number, digit in enumerate(digits):
        with Image.open(io.BytesIO(render(condition, digit, seed, number))) as image:
            small = image.convert("RGB")
        small.thumbnail((SHEET_CELL - 4, SHEET_CELL - 4))
        yield small


def _choose(available: int, count: int, seed: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(available)[:count]


def _load(model: Path) -> onnxruntime.InferenceSession:
    try:
        session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common root
        raise ArtifactError(f"{model} can't be loaded as an ONNX model: {error}") from error
    properties = session.get_modelmeta().custom_metadata_map
    if properties and (classes := ArtifactMetadata.from_properties(properties).classes) != DIGITS:
        raise ArtifactError(f"stress renders digits, and {model} has other classes: {', '.join(classes)}")
    return session
