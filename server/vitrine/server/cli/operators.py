"""Commands of `vitrine-server` beside serving: make a token, publish a model. They know flags and print results."""

import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from vitrine.model import VitrineError
from vitrine.server.cli.groups import Command
from vitrine.server.models.publishing import publish
from vitrine.server.models.scan import ARTIFACT
from vitrine.server.security.access import Permission
from vitrine.server.security.issuing import add_line, make_token

SETTINGS: Mapping[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "show_default": True,
    "max_content_width": 110,
}
"""Click's settings of both commands."""


def _in_one_sentence(command: Command) -> Command:
    @functools.wraps(command)
    def run(**values: object) -> None:
        try:
            command(**values)
        except VitrineError as error:
            sys.exit(f"vitrine-server: {error}")
        except OSError as error:
            sys.exit(f"vitrine-server: {error.filename or 'the system says'}: {error.strerror}")

    return run


def _read_permissions(_context: click.Context, _option: click.Parameter, value: str) -> list[Permission]:
    try:
        return [Permission(word) for word in dict.fromkeys(value.split(","))]
    except ValueError as error:
        known = ", ".join(permission.value for permission in Permission)
        raise click.BadParameter(f"{value!r} isn't some of {known}, with commas between") from error


@click.command("token", context_settings=SETTINGS)
@click.argument("name")
@click.option(
    "--allow",
    "permissions",
    default="predict",
    callback=_read_permissions,
    metavar="PERMISSIONS",
    help=f"What the token allows: {', '.join(word.value for word in Permission)}, with commas between.",
)
@click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="VITRINE_TOKENS",
    show_envvar=True,
    help="File of --tokens that gets the token's line. Without it, the line is printed on standard error.",
)
@_in_one_sentence
def token_command(name: str, permissions: list[Permission], file: Path | None) -> None:
    """Make a token for the caller NAME, and print it on standard output.

    The file of --tokens holds its SHA-256 only. A server that follows the file takes the token with the next request.
    """
    token, line = make_token(name, permissions)
    if file is None:
        click.echo(f"line for the file of --tokens: {line}", err=True)
    else:
        add_line(file, line)
        click.echo(f"{file} has a new line for {name}", err=True)
    click.echo(token)


@click.command("publish", context_settings=SETTINGS)
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.argument("repository", type=click.Path(file_okay=False, path_type=Path))
@click.option("--name", help="Name of the model in the repository.  [default: the model's own]", show_default=False)
@_in_one_sentence
def publish_command(run: Path, repository: Path, name: str | None) -> None:
    """Add RUN, a run folder or an artifact, to REPOSITORY as the model's next version.

    The artifact passes every check of a server first. The version appears by a rename, so that a server that follows
    the repository never sees half of it.
    """
    from vitrine.server.engine.device import Device  # ONNX Runtime is loaded by this command alone
    from vitrine.server.engine.loading import load_artifact

    artifact = run / ARTIFACT if run.is_dir() else run
    model = load_artifact(artifact, Device.CPU)
    click.echo(publish(artifact, repository, name or model.name))


COMMANDS: Mapping[str, click.Command] = {"token": token_command, "publish": publish_command}
"""The commands by their first word. A model file of such a name is served as `./token`."""
