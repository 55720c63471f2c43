"""Flags and arguments that several commands share, and the readers of their values."""

import re
from pathlib import Path

import click

from vitrine.model import Shape
from vitrine.model.labels import shorten

LONGEST_SHOWN = 40
"""Characters that an error shows of a value."""


def read_widths(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Widths of layers, such as 512,256."""
    if value is None:
        return None
    try:
        return tuple(int(width) for width in value.split(","))
    except ValueError as error:
        raise click.BadParameter(
            f"{shorten(value, LONGEST_SHOWN)} is not a list of whole numbers such as 512,256"
        ) from error


def read_size(_context: click.Context, _option: click.Parameter, value: str | None) -> Shape | None:
    """Height and width in pixels, such as 18x18."""
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}x[0-9]{1,9}", value):  # Python converts no number of thousands of digits
        raise click.BadParameter(
            f"{shorten(value, LONGEST_SHOWN)} is not HEIGHTxWIDTH in pixels, such as 18x18 or 12x20"
        )
    return tuple(int(side) for side in value.split("x"))


data_dir = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder with MNIST's four files, itself or in a subfolder such as mnist or MNIST/raw. Without it and without "
    "VITRINE_DATA_DIR in the environment, MNIST is downloaded.",
)
pen_data = click.option(
    "--pen-data",
    type=click.Path(path_type=Path),
    help="UNIPEN's train_r01_v07, as a folder or an archive; or a folder that holds it. It is never downloaded.  "
    "[--data-dir or VITRINE_DATA_DIR]",
)
run = click.argument("run", type=click.Path(file_okay=False, path_type=Path))
