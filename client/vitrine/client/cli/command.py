"""The group of commands and what each prints. `report` makes the text; `classifying` classifies files."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from vitrine.client import report
from vitrine.client.cli.classifying import Printed, classify_files, encoding, find_images, has_colours
from vitrine.client.cli.options import AS_JSON, IMAGE_PIXELS, MODEL, connected
from vitrine.client.drawing.inside import compare as draw_comparison
from vitrine.client.drawing.plot import check_matplotlib
from vitrine.client.drawing.units import parameters_text, plot_unit, unit_of, unit_text
from vitrine.client.sync_client import Client
from vitrine.client.types import AttributionMethod
from vitrine.client.wire import METHODS_OF_ATTRIBUTION, Preparation
from vitrine.model.distribution import DISTRIBUTION
from vitrine.model.output import safe_output
from vitrine.model.variables import find_mistyped

HEALTH_TIMEOUT = 5.0
"""Deadline of `health` in seconds: a container's health check mustn't hang."""


class Program(click.Group):
    """The command's group. Whatever its output can't take or its environment mistypes, no traceback follows."""

    def main(self, *arguments: Any, **settings: Any) -> Any:
        """Runs the command."""
        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # a home that can't be written is no news to its user
        with safe_output():
            for warning in find_mistyped(os.environ):
                click.echo(f"Warning: {warning}", err=True)
            return super().main(*arguments, **settings)


@click.group(
    cls=Program,
    context_settings={"show_default": True, "help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name=DISTRIBUTION)
def main() -> None:
    """Classify images and show what every layer of the model calculates."""
    if sys.stdout is None:
        raise click.ClickException("can't write the output: standard output is closed")


@main.command()
@click.argument("images", nargs=-1, required=True, type=Path)
@click.option("--activations", is_flag=True, help="Show the pixels and the activations of every layer.")
@AS_JSON
@click.option("--csv", "as_csv", is_flag=True, help="Print a table as CSV, a row for each image.")
@click.option("--npz", type=Path, help="Write the predictions, and the activations if asked for, as arrays (.npz).")
@click.option(
    "--plot",
    type=Path,
    help="Write a figure of every layer for each image: a file (.png, .pdf, .svg), or a folder for one file an image.",
)
@MODEL
@click.option(
    "--preparation",
    type=click.Choice(["local", "server"]),
    default="local",
    help="The place where images become pixels: this machine, or the server, which then gets the files.",
)
@IMAGE_PIXELS
@connected()
def classify(
    client: Client,
    images: tuple[Path, ...],
    activations: bool,
    as_json: bool,
    as_csv: bool,
    npz: Path | None,
    plot: Path | None,
    model: str,
    preparation: Preparation,
) -> None:
    """Classify IMAGES: files such as PNG or JPEG, each with one object, such as a digit; or folders of such files.

    An image that can't be read gets a sentence in its place, and the others are classified; the status is then 1.
    """
    if as_json and as_csv:
        raise click.UsageError("print either --json or --csv")
    if plot is not None:
        check_matplotlib()
    printed = Printed.JSON if as_json else Printed.CSV if as_csv else Printed.TEXT
    wanted = "all" if activations or plot else None
    outcomes = client.classify_many(
        files := find_images(images), activations=wanted, model=model, preparation=preparation, return_exceptions=True
    )
    if not classify_files(files, outcomes, printed, activations=activations, npz=npz, plot=plot):
        sys.exit(1)


@main.command()
@click.argument("image", type=Path)
@click.option("--digit", default=None, help="Label of the class to explain. Without it: the predicted class.")
@click.option(
    "--method",
    type=click.Choice(METHODS_OF_ATTRIBUTION),
    default="contributions",
    help="The way to divide the score among the pixels.",
)
@click.option("--plot", type=Path, help="Write a figure of the pixels and their shares: .png, .pdf or .svg.")
@AS_JSON
@MODEL
@IMAGE_PIXELS
@connected()
def explain(
    client: Client,
    image: Path,
    digit: str | None,
    method: AttributionMethod,
    plot: Path | None,
    as_json: bool,
    model: str,
) -> None:
    """Show which pixels of IMAGE speak for a class, and which against it.

    The shares of all pixels and the bias add up to the score: the class's activation before softmax or sigmoid.
    """
    if plot is not None:
        check_matplotlib()
    explanation = client.explain(image, digit, method=method, model=model)
    if as_json:
        click.echo(report.to_json(report.explanation_document(explanation, image)))
    else:
        click.echo(report.explanation_text(explanation, image, colour=has_colours(), encoding=encoding()))
    if plot is not None:
        explanation.plot(plot)
        click.echo(f"{image}: figure in {plot}", err=True)


@main.command()
@click.argument("first", type=Path)
@click.argument("second", type=Path)
@click.option("--plot", type=Path, help="Write a figure of both, layer by layer: .png, .pdf or .svg.")
@AS_JSON
@MODEL
@IMAGE_PIXELS
@connected()
def compare(client: Client, first: Path, second: Path, plot: Path | None, as_json: bool, model: str) -> None:
    """Compare the activations of two images, FIRST and SECOND, layer by layer."""
    if plot is not None:
        check_matplotlib()
    one, other = (client.classify(image, model=model) for image in (first, second))
    if as_json:
        click.echo(report.to_json(report.comparison_document(one, other, first, second)))
    else:
        click.echo(report.comparison_text(one, other, first, second))
    if plot is not None:
        draw_comparison(one, other, plot)
        click.echo(f"figure in {plot}", err=True)


@main.command()
@AS_JSON
@MODEL
@connected()
def inspect(client: Client, as_json: bool, model: str) -> None:
    """Describe a model: its layers, input, classes, training and limits."""
    described = client.model(model)
    click.echo(report.to_json(report.model_document(described)) if as_json else report.model_text(described))


@main.command()
@click.argument("layer")
@click.option("--unit", type=int, help="Position of one unit in the layer, from 0; shows its weights as a picture.")
@click.option("--image", type=Path, help="An image: shows what the unit calculates for it, too.")
@click.option("--plot", type=Path, help="Write the unit's weights as a figure (.png, .pdf, .svg).")
@MODEL
@connected()
def parameters(client: Client, layer: str, unit: int | None, image: Path | None, plot: Path | None, model: str) -> None:
    """Show the stored weights and biases of LAYER, a linear one such as linear_1."""
    if unit is None and (image or plot):
        raise click.UsageError("--image and --plot are about one unit: name it with --unit")
    if plot is not None:
        check_matplotlib()
    stored = client.parameters(layer, model)
    if unit is None:
        click.echo(parameters_text(stored))
        return
    prediction = client.classify(image, model=model) if image else None
    shown = unit_of(stored, unit, client.model(model), prediction)
    click.echo(unit_text(shown, encoding()))
    if plot is not None:
        plot_unit(shown, plot)
        click.echo(f"figure in {plot}", err=True)


@main.command()
@AS_JSON
@connected()
def models(client: Client, as_json: bool) -> None:
    """List the models that are served, and the versions that failed to load."""
    summaries = client.models()
    click.echo(report.to_json(report.models_document(summaries)) if as_json else report.models_text(summaries))


@main.command()
@connected(HEALTH_TIMEOUT)
def health(client: Client) -> None:
    """Ask whether the server takes requests: exit status 0 if it does, 1 if it doesn't."""
    state = client.health()
    click.echo(f"{client.target} is {state.status}")
    if not state:
        sys.exit(1)
