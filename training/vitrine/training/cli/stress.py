"""The command `stress`."""

import json
from pathlib import Path
from typing import get_args

import click

from vitrine.training.cli import options
from vitrine.training.cli.sources import mnist_images
from vitrine.training.data import Split
from vitrine.training.rendering.stress import EVERY_CONDITION, draw_sheet, measure_stress
from vitrine.training.report import stress_table


@click.command("stress")
@click.argument("model", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--dataset", type=click.Choice(["mnist"]), default="mnist", show_default=True, help="Source of the digits."
)
@click.option(
    "--split",
    type=click.Choice(get_args(Split)),
    default="validation",
    show_default=True,
    help="Digits to render. validation: training images by the writers that a fit holds out by default; needs "
    "writers.npz beside MNIST's files. test: MNIST's test images.",
)
@options.data_dir
@click.option(
    "--condition",
    "names",
    metavar="NAME",
    multiple=True,
    type=click.Choice(EVERY_CONDITION),
    help=f"Render only this condition; may be repeated.  [{', '.join(EVERY_CONDITION)}]",
)
@click.option("--count", default=300, show_default=True, help="Digits per condition.", type=click.IntRange(1))
@click.option("--seed", default=0, show_default=True, help="Seed of all random numbers.", type=click.IntRange(0))
@click.option(
    "--sheet", type=click.Path(dir_okay=False, path_type=Path), help="Also write a PNG with examples of each condition."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", is_flag=True, help="Hide the progress bars.")
def stress_command(
    model: Path,
    dataset: str,
    split: Split,
    data_dir: Path | None,
    names: tuple[str, ...],
    count: int,
    seed: int,
    sheet: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Render digits as photos, scans and drawings, and measure how many MODEL recognises.

    MODEL is an ONNX artifact. Every condition renders the same digits with its own light, pen, paper, size or noise,
    or writes a form of a digit, such as a 1 with an upstroke.
    """
    images, labels = mnist_images(split, data_dir, quiet)
    results = measure_stress(model, images, labels, names or EVERY_CONDITION, count, seed, progress=not quiet)
    if sheet:
        draw_sheet(images, names or EVERY_CONDITION, seed, sheet)
    figures = {"dataset": dataset, "split": split, "seed": seed, "conditions": [each.to_dict() for each in results]}
    click.echo(json.dumps(figures) if as_json else stress_table(results).to_text())
