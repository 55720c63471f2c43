"""A model's accuracy on the stress set, per condition.

A model is used through its ONNX file alone, so models that were trained elsewhere can be compared.
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
from vitrine.training.rendering.stress.forms import FORM_CONDITIONS, form_labels, render_form
from vitrine.training.rendering.stress.strokes import Digit

SHEET_DIGITS = 10
"""Images per condition on the contact sheet."""

SHEET_CELL = 96
"""Side of an image's cell on the contact sheet, in pixels."""

SHEET_MARGIN = 160
"""Width of the column with the conditions' names, in pixels."""


@dataclass(frozen=True, slots=True)
class ConditionResult:
    """A model's result for one condition."""

    condition: str
    """Name of the condition."""
    count: int
    """Number of images."""
    recognised: int
    """Number of correctly classified images."""

    @property
    def accuracy(self) -> float:
        """Share of correctly classified images, 0 to 1."""
        return self.recognised / self.count

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
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
) -> list[ConditionResult]:
    """Renders digits under each condition, prepares them, and counts the correctly classified ones.

    Args:
        model: path of an ONNX artifact.
        images: uint8 (N, 28, 28), 0 = paper, 255 = ink.
        labels: int64 (N,).
        conditions: names in `CONDITIONS` or `FORM_CONDITIONS`; a form's images have the form's digit, and no labels.
        count: number of digits, chosen by `seed`, the same for every condition; at most N are used.
        seed: 0 or more.
        progress: True shows progress bars.

    Raises:
        ArtifactError: the model cannot be loaded, or has other classes than the digits.
    """
    session = _load(model)
    _, *shape = session.get_inputs()[0].shape
    output = [output.name for output in session.get_outputs() if output.name != NOVELTY][-1]
    chosen = _choose(len(images), count, seed)
    results = []
    for condition in conditions:
        bar = tqdm(images[chosen], condition, unit="image", disable=not progress)
        pixels = np.stack(
            [prepare(_file(condition, digit, seed, n), shape=tuple(shape)) for n, digit in enumerate(bar)]
        )
        (scores,) = session.run([output], {"pixels": pixels})  # (N, 10)
        shown = form_labels(condition, len(chosen)) if condition in FORM_CONDITIONS else labels[chosen]
        results.append(ConditionResult(condition, len(chosen), int((scores.argmax(axis=1) == shown).sum())))
    return results


def draw_sheet(images: npt.NDArray[np.uint8], conditions: Sequence[str], seed: int, path: Path) -> None:
    """Writes a contact sheet as PNG: one row per condition, with the first digits of the stress set."""
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
        with Image.open(io.BytesIO(_file(condition, digit, seed, number))) as image:
            small = image.convert("RGB")
        small.thumbnail((SHEET_CELL - 4, SHEET_CELL - 4))
        yield small


def _file(condition: str, digit: Digit, seed: int, number: int) -> bytes:
    """An image file of a condition; forms bring their own digit."""
    if condition in FORM_CONDITIONS:
        return render_form(condition, seed, number)
    return render(condition, digit, seed, number)


def _choose(available: int, count: int, seed: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(available)[:count]


def _load(model: Path) -> onnxruntime.InferenceSession:
    try:
        session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common root
        raise ArtifactError(f"{model} cannot be loaded as an ONNX model: {error}") from error
    properties = session.get_modelmeta().custom_metadata_map
    if properties and (classes := ArtifactMetadata.from_properties(properties).classes) != DIGITS:
        raise ArtifactError(f"the stress set shows digits, but {model} has the classes {', '.join(classes)}")
    return session
