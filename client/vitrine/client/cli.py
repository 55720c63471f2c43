"""The `vitrine` command: classify images, inspect a model, ask for a server's health.

It knows flags and exit statuses: 0 for success, 1 for an error with one sentence on standard error, 2 for wrong usage.
`report` makes the text that is printed.
"""

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import click

from vitrine.client import report
from vitrine.client.connection import DEFAULT_TIMEOUT, TLS
from vitrine.client.plot import check_matplotlib, plot_prediction
from vitrine.client.sync_client import Client
from vitrine.client.target import DEFAULT_TARGET
from vitrine.client.types import Prediction
from vitrine.client.wire import Preparation
from vitrine.model import MAX_IMAGE_PIXELS, MOST_IMAGE_PIXELS, VitrineError
from vitrine.model.distribution import DISTRIBUTION

HEALTH_TIMEOUT = 5.0
"""Deadline of `health` in seconds: a container's health check mustn't hang."""

MEGAPIXEL = 1_000_000

Command: TypeAlias = Callable[..., None]


class Program(click.Group):
    """The command's group. If its output can't be written, to a full disk for example, it says so and exits with 1."""

    def main(self, *arguments: Any, **settings: Any) -> Any:
        """Runs the command."""
        try:
            return super().main(*arguments, **settings)
        except OSError as error:
            if error.filename is not None:  # a file, not the output
                raise
            with suppress(OSError, ValueError), Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())  # else Python tries to write the rest when it exits
            click.echo(f"Error: can't write the output: {error.strerror}", err=True)
            sys.exit(1)


@click.group(cls=Program, context_settings={"show_default": True})
@click.version_option(package_name=DISTRIBUTION)
def main() -> None:
    """Classify images and show what every layer of the model calculates."""


def _option(flag: str, text: str, prefix: str = "VITRINE_", **settings: Any) -> Callable[[Command], Command]:
    """An option with an environment variable: --timeout and VITRINE_TIMEOUT."""
    variable = prefix + flag.removeprefix("--").replace("-", "_").upper()
    return click.option(flag, envvar=variable, show_envvar=True, help=text, **settings)


def connected(timeout: float) -> Callable[[Command], Command]:
    """Adds the options of a connection to a command, and passes it the client as its first argument."""
    seconds = _option("--timeout", "Deadline of each call, in seconds.", type=float, default=timeout)

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(target: str, timeout: float, token: str | None, **options: Any) -> None:
            with one_sentence_errors():
                tls = _tls(**{name: options.pop(name) for name in ("tls", "tls_ca", "tls_cert", "tls_key")})
                pixels = options.pop("max_image_megapixels", MAX_IMAGE_PIXELS // MEGAPIXEL) * MEGAPIXEL
                with Client(target, timeout=timeout, tls=tls, token=token or None, max_image_pixels=pixels) as client:
                    command(client, **options)

        decorated: Command = run
        for option in (seconds, *CONNECTION):
            decorated = option(decorated)
        return decorated

    return decorate


_client_option = functools.partial(_option, prefix="VITRINE_CLIENT_")
"""An option with a variable of the client's own: a server in the same container has its own certificates."""

CONNECTION = (
    _client_option("--tls-key", "PEM of that certificate's private key.", type=Path),
    _client_option("--tls-cert", "PEM of this client's certificate.", type=Path),
    _client_option("--tls-ca", "PEM of the authorities to trust; implies --tls.", type=Path),
    _client_option("--tls", "Encrypt the connection.", is_flag=True),
    _option("--token", "Bearer token. Prefer the variable: a list of processes shows options."),
    _option("--target", "HOST:PORT of the server.", default=DEFAULT_TARGET),
)
"""The options of a connection, last first, which is the order of applying decorators."""

MODEL = click.option(
    "--model",
    default="",
    show_default=False,
    help="NAME or NAME@VERSION of a served model. Without it: the default model.",
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def _tls(tls: bool, tls_ca: Path | None, tls_cert: Path | None, tls_key: Path | None) -> TLS | None:
    return TLS(tls_ca, tls_cert, tls_key) if tls or tls_ca or tls_cert or tls_key else None


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Ends the command with the text of an error and status 1, instead of a traceback."""
    try:
        yield
    except VitrineError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.argument("images", nargs=-1, required=True, type=Path)
@click.option("--activations", is_flag=True, help="Show the pixels and the activations of every layer.")
@AS_JSON
@click.option("--plot", type=Path, help="Write a figure of every layer for each image (.png, .pdf, .svg).")
@MODEL
@click.option(
    "--preparation",
    type=click.Choice(["local", "server"]),
    default="local",
    help="The place where images become pixels: this machine, or the server, which then gets the files.",
)
@_client_option(
    "--max-image-megapixels",
    "Largest width × height of an image that this machine prepares, in millions of pixels.",
    type=click.IntRange(1, MOST_IMAGE_PIXELS // MEGAPIXEL),
    default=MAX_IMAGE_PIXELS // MEGAPIXEL,
)
@connected(DEFAULT_TIMEOUT)
def classify(
    client: Client,
    images: tuple[Path, ...],
    activations: bool,
    as_json: bool,
    plot: Path | None,
    model: str,
    preparation: Preparation,
) -> None:
    """Classify IMAGES: files such as PNG or JPEG, each with one object, such as a digit."""
    if plot is not None:
        check_matplotlib()
    wanted = "all" if activations or plot else None
    predictions = client.classify_many(images, activations=wanted, model=model, preparation=preparation)
    documents = []
    for number, (image, prediction) in enumerate(zip(images, predictions, strict=True), start=1):
        if plot is not None:
            plot_prediction(prediction, _numbered(plot, number, len(images)))
        if as_json:
            documents.append(report.prediction_document(prediction, image, activations=activations))
        else:
            _show(prediction, image, activations)
    if as_json:
        click.echo(report.to_json({"predictions": documents}))


def _numbered(path: Path, number: int, count: int) -> Path:
    """The path of one of `count` figures: figure.png, or figure-1.png, figure-2.png, …"""
    return path if count == 1 else path.with_stem(f"{path.stem}-{number}")


def _show(prediction: Prediction, image: Path, activations: bool) -> None:
    click.echo(report.prediction_line(prediction, image))
    if activations:
        click.echo(report.activations_text(prediction, colour=_has_colours()))


def _has_colours() -> bool:
    """True if output goes to a terminal and the user hasn't turned colours off: see no-color.org."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


@main.command()
@AS_JSON
@MODEL
@connected(DEFAULT_TIMEOUT)
def inspect(client: Client, as_json: bool, model: str) -> None:
    """Describe a model: its layers, input, classes, training and limits."""
    described = client.model(model)
    click.echo(report.to_json(report.model_document(described)) if as_json else report.model_text(described))


@main.command()
@connected(HEALTH_TIMEOUT)
def health(client: Client) -> None:
    """Ask whether the server takes requests: exit status 0 if it does, 1 if it doesn't."""
    state = client.health()
    click.echo(f"{client.target} is {state.status}")
    if not state:
        sys.exit(1)
