"""The option of all scripts here that chooses the front end of the servers under test."""

import os
from collections.abc import Sequence

import click

VARIABLE = "VITRINE_FRONTEND"
"""The server's own variable for it, which every server that is started inherits."""


def _choose(_: click.Context, __: click.Parameter, name: str) -> None:
    os.environ[VARIABLE] = name


def http_flags(name: str) -> Sequence[str]:
    """Flags with which a server speaks HTTP/1.1, too: Envoy does so anyway.

    Args:
        name: the front end.
    """
    return () if name == "envoy" else ("--http-port", "0")


frontend_option = click.option(
    "--frontend",
    type=click.Choice(("grpc", "envoy")),
    default="grpc",
    show_default=True,
    callback=_choose,
    expose_value=False,
    is_eager=True,
    help="Front end of the server.",
)
"""Sets it for this process and those that it starts."""
