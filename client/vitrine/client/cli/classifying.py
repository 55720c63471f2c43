"""Classifies files one by one, and shows each outcome: as text, JSON or CSV, as arrays, as figures.

A file that can't be read has an outcome as well. This module knows no options and no server.
"""

import csv
import io
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import click
import numpy as np

from vitrine.client import report
from vitrine.client.batches import Outcome
from vitrine.client.drawing.plot import plot_prediction
from vitrine.client.errors import UsageError
from vitrine.client.image_files import images_in
from vitrine.client.types import Prediction
from vitrine.model import ImageError


class Printed(Enum):
    """A form of output."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"


def find_images(given: Iterable[Path]) -> list[Path]:
    """The files that were given, and those in the folders that were given, folders in them included, by name.

    Raises:
        UsageError: a folder has no image.
    """
    files: list[Path] = []
    for path in given:
        found = _images_in(path) if path.is_dir() else [path]
        if not found:
            raise UsageError(f"{path} has no images: files such as .png or .jpg, also in folders in it")
        files += found
    return files


def _images_in(folder: Path) -> list[Path]:
    try:
        return sorted(images_in(folder))
    except OSError:
        return [folder]  # classifying it says why


def classify_files(
    files: Sequence[Path],
    outcomes: Iterable[Outcome],
    printed: Printed,
    *,
    activations: bool,
    npz: Path | None,
    plot: Path | None,
) -> bool:
    """Shows the outcome of each file as it comes; returns False if one of them can't be read.

    Args:
        files: the files.
        outcomes: a prediction or an error for each of them. Where they end in an error, what came before is shown.
        printed: the form of the output.
        activations: show the activations, too.
        npz: file for the predictions as arrays; None: none.
        plot: file or folder for figures; None: none.

    Raises:
        VitrineError: a call failed, or a file can't be written.
    """
    if npz is not None:
        _check_writable(npz)
    figures = None if plot is None else Figures(plot, len(files))
    output = Output(printed, activations)
    seen: list[tuple[Path, Prediction]] = []
    good = True
    try:
        for file, outcome in zip(files, outcomes, strict=True):
            if not isinstance(outcome, Prediction):
                is_named = isinstance(outcome, ImageError)  # the server knows no names
                output.show_error(file, outcome.message, is_named=is_named)
                good = False
                continue
            output.show(file, outcome)
            if figures is not None:
                figures.draw(file, outcome)
            if npz is not None:
                seen.append((file, outcome))
    finally:
        output.end()
    if npz is not None:
        _write_arrays(npz, seen)
    return good


@dataclass
class Output:
    """What a command prints about files, in one of three forms."""

    printed: Printed
    """The form."""
    activations: bool
    """Print activations, too."""
    documents: list[dict[str, Any]] = field(default_factory=list)
    """The entries of the JSON document so far."""
    has_header: bool = False
    """The first row of the table has been printed."""

    def show(self, file: Path, prediction: Prediction) -> None:
        """Prints a prediction."""
        match self.printed:
            case Printed.JSON:
                self.documents.append(report.prediction_document(prediction, file, activations=self.activations))
            case Printed.CSV:
                self._row(report.prediction_row(prediction, file))
            case Printed.TEXT:
                click.echo(report.prediction_line(prediction, file))
                if self.activations:
                    look: dict[str, Any] = {"colour": has_colours(), "encoding": encoding(), "columns": columns()}
                    click.echo(report.activations_text(prediction, **look))

    def show_error(self, file: Path, text: str, *, is_named: bool) -> None:
        """Prints why a file has no prediction: to standard error, and in its place in JSON or in the table.

        Args:
            file: the file.
            text: the reason.
            is_named: the reason names the file.
        """
        click.echo(f"Error: {text if is_named else f'{file}: {text}'}", err=True)
        if self.printed is Printed.JSON:
            self.documents.append({"image": str(file), "error": text})
        elif self.printed is Printed.CSV:
            self._row(report.error_row(text, file))

    def _row(self, row: dict[str, Any]) -> None:
        line = io.StringIO()
        writer = csv.DictWriter(line, report.COLUMNS, lineterminator="\n")
        if not self.has_header:
            writer.writeheader()
            self.has_header = True
        writer.writerow(row)
        click.echo(line.getvalue(), nl=False)

    def end(self) -> None:
        """Prints what is printed once."""
        if self.printed is Printed.JSON:
            click.echo(report.to_json({"predictions": self.documents}))


def has_colours() -> bool:
    """True if output goes to a terminal and the user hasn't turned colours off: see no-color.org."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def encoding() -> str:
    """The output's encoding. Drawings keep to it, though click writes UTF-8 where it is ASCII."""
    return sys.stdout.encoding or "utf-8"


def columns() -> int | None:
    """The width of the terminal that output goes to, in characters; None: it goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


@dataclass
class Figures:
    """Files for the figures of several images.

    A folder gets one file an image, of its name. With a file's name, several figures are numbered: figure-1.png, …
    """

    path: Path
    """A file or a folder."""
    count: int
    """Number of images."""
    drawn: set[Path] = field(default_factory=set)
    """The files that have been written."""
    number: int = 0
    """Number of the last image."""

    def draw(self, image: Path, prediction: Prediction) -> None:
        """Draws a prediction into its file, and says where that is."""
        self.number += 1
        path = self._path_for(image)
        plot_prediction(prediction, path)
        self.drawn.add(path)
        click.echo(f"{image}: figure in {path}", err=True)

    def _path_for(self, image: Path) -> Path:
        if self.path.suffix and not self.path.is_dir():
            return self.path if self.count == 1 else self.path.with_stem(f"{self.path.stem}-{self.number}")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"can't write figures to {self.path}: {error.strerror}") from error
        path = self.path / f"{image.stem}.png"
        return path if path not in self.drawn else self.path / f"{image.stem}-{self.number}.png"


def _check_writable(path: Path) -> None:
    """Raises now what writing would raise after all images are classified. The file stays as it is."""
    is_new = not path.exists()
    if path.is_fifo():
        return  # opening it and closing it again would end its reader
    try:
        path.open("ab").close()
    except OSError as error:
        raise _unwritable(path, error) from error
    if is_new:
        path.unlink()


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"can't write the arrays to {path}: {error.strerror}")


def _write_arrays(path: Path, seen: Sequence[tuple[Path, Prediction]]) -> None:
    try:
        arrays = _stacked(seen)
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"can't write the arrays to {path}: another model has taken over meanwhile, with layers of other shapes"
        ) from error
    try:
        with path.open("wb") as file:
            np.savez(file, **arrays)
    except OSError as error:
        raise _unwritable(path, error) from error
    click.echo(f"arrays in {path}: {', '.join(arrays)}", err=True)


def _stacked(seen: Sequence[tuple[Path, Prediction]]) -> dict[str, Any]:
    """Predictions as arrays: row i is image i; the activations of each layer are stacked."""
    arrays: dict[str, Any] = {
        "images": np.array([str(file) for file, _ in seen]),
        "labels": np.array([prediction.label for _, prediction in seen]),
        "probabilities": np.array([prediction.probabilities for _, prediction in seen], np.float32),
        "novelty": np.array([_or_nan(prediction.novelty) for _, prediction in seen], np.float32),
    }
    for name in seen[0][1].activations if seen else ():
        arrays[f"activations/{name}"] = np.stack([prediction.activations[name] for _, prediction in seen])
    return arrays


def _or_nan(novelty: float | None) -> float:
    return float("nan") if novelty is None else novelty
