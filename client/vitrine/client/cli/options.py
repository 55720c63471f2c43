"""The options of a connection, and the errors of a command as one sentence. It knows no command."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import click

from vitrine.client import environment
from vitrine.client.connection import DEFAULT_TIMEOUT, TLS
from vitrine.client.sync_client import Client
from vitrine.client.target import DEFAULT_TARGET
from vitrine.model import MAX_IMAGE_PIXELS, MOST_IMAGE_PIXELS, VitrineError

MEGAPIXEL = 1_000_000

Command: TypeAlias = Callable[..., None]
Option: TypeAlias = Callable[[Command], Command]


def option(flag: str, text: str, variable: str, **settings: Any) -> Option:
    """An option that an environment variable sets, too."""
    return click.option(flag, envvar=variable, show_envvar=True, help=text, **settings)


CONNECTION = (
    option(
        "--tls-server-name",
        "Name that the server's certificate must have, if the target has another; implies --tls.",
        environment.SERVER_NAME,
    ),
    option("--tls-key", "PEM of that certificate's private key.", environment.KEY, type=Path),
    option("--tls-cert", "PEM of this client's certificate.", environment.CERT, type=Path),
    option("--tls-ca", "PEM of the authorities to trust; implies --tls.", environment.CA, type=Path),
    option("--tls", "Encrypt the connection.", environment.USE_TLS, is_flag=True),
    option("--token", "Bearer token. Prefer the variable: a list of processes shows options.", environment.TOKEN),
    option("--target", "HOST:PORT of the server.", environment.TARGET, default=DEFAULT_TARGET),
)
"""The options of a connection, last first, which is the order of applying decorators."""

MODEL = click.option(
    "--model",
    default="",
    show_default=False,
    help="NAME or NAME@VERSION of a served model. Without it: the default model.",
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")

IMAGE_PIXELS = option(
    "--max-image-megapixels",
    "Largest width × height of an image that this machine prepares, in millions of pixels.",
    environment.CLIENT + "MAX_IMAGE_MEGAPIXELS",
    type=click.IntRange(1, MOST_IMAGE_PIXELS // MEGAPIXEL),
    default=MAX_IMAGE_PIXELS // MEGAPIXEL,
)


def connected(timeout: float = DEFAULT_TIMEOUT) -> Callable[[Command], Command]:
    """Adds the options of a connection to a command, and passes it the client as its first argument."""

    def decorate(command: Command) -> Command:
        @connection_options(timeout)
        @functools.wraps(command)
        def run(connection: dict[str, Any], **options: Any) -> None:
            with one_sentence_errors(), Client(**connection) as client:
                command(client, **options)

        return run

    return decorate


def connection_options(timeout: float = DEFAULT_TIMEOUT) -> Callable[[Command], Command]:
    """Adds the options of a connection to a command, and passes it the arguments of a client as its first argument."""
    seconds = option("--timeout", "Deadline of each call, in seconds.", "VITRINE_TIMEOUT", type=float, default=timeout)

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(target: str, timeout: float, token: str | None, **options: Any) -> None:
            names = ("tls", "tls_ca", "tls_cert", "tls_key", "tls_server_name")
            with one_sentence_errors():
                tls = _tls(**{name: options.pop(name) for name in names})
            pixels = options.pop("max_image_megapixels", MAX_IMAGE_PIXELS // MEGAPIXEL) * MEGAPIXEL
            command(
                {"target": target, "timeout": timeout, "tls": tls, "token": token or False, "max_image_pixels": pixels},
                **options,
            )

        decorated: Command = run
        for each in (seconds, *CONNECTION):
            decorated = each(decorated)
        return decorated

    return decorate


def _tls(
    tls: bool, tls_ca: Path | None, tls_cert: Path | None, tls_key: Path | None, tls_server_name: str | None
) -> TLS | None:
    wanted = tls or tls_ca or tls_cert or tls_key or tls_server_name
    return TLS(tls_ca, tls_cert, tls_key, tls_server_name or None) if wanted else None


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Ends the command with the text of an error and status 1, instead of a traceback."""
    try:
        yield
    except VitrineError as error:
        raise click.ClickException(str(error)) from error
