"""The group of all commands: how they print errors, and how they end after Ctrl-C."""

import os
from typing import Any

import click

from vitrine.model import VitrineError
from vitrine.model.distribution import DISTRIBUTION
from vitrine.model.output import safe_output
from vitrine.model.variables import find_mistyped

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells define it (128 + SIGINT)."""


class _Group(click.Group):
    """A command group that prints errors as one sentence, without a traceback, and exits with 130 after Ctrl-C."""

    def main(self, *arguments: Any, **settings: Any) -> Any:
        with safe_output():
            for warning in find_mistyped(os.environ):
                click.echo(f"Warning: {warning}", err=True)
            return super().main(*arguments, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        except VitrineError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            raise click.ClickException(f"{error.filename or 'the system says'}: {error.strerror}") from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name=DISTRIBUTION)
def main() -> None:
    """Train an image classifier whose layers you can inspect, and export it for vitrine-server."""
