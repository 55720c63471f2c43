"""The variables that set up a connection where arguments don't: the same for `Client()` and for the `vitrine` command.

It reads them, and knows neither the command nor channels.
"""

import os
from typing import Literal

from vitrine.client.connection import TLS
from vitrine.client.errors import UsageError
from vitrine.client.target import DEFAULT_TARGET

TARGET = "VITRINE_TARGET"
"""HOST:PORT of the server."""

TOKEN = "VITRINE_TOKEN"  # noqa: S105  # a variable's name
"""Bearer token."""

CLIENT = "VITRINE_CLIENT_"
"""The beginning of variables of the client's own: a server in the same container has its own certificates."""

USE_TLS, CA, CERT, KEY, SERVER_NAME = (
    CLIENT + name for name in ("TLS", "TLS_CA", "TLS_CERT", "TLS_KEY", "TLS_SERVER_NAME")
)
"""TLS: on or off; then the fields of `TLS`."""

ON, OFF = ("1", "true", "t", "yes", "y", "on"), ("", "0", "false", "f", "no", "n", "off")
"""The values of a variable that is on or off, as the command takes them."""


def target_or_default(target: str | None) -> str:
    """The target that was given, that of the environment, or the default."""
    return target if target is not None else os.environ.get(TARGET) or DEFAULT_TARGET


def token_or_default(token: str | Literal[False] | None, target: str) -> str | None:
    """The token that was given; False is none. None is that of the environment, unless it names another target.

    A server that the program calls besides must not get to know it.
    """
    if token is None and target == target_or_default(None):
        return os.environ.get(TOKEN) or None
    return None if token is False else token


def tls_or_default(tls: TLS | bool | None) -> TLS | None:
    """The encryption that was given: True is `TLS()`; None is that of the environment.

    Raises:
        UsageError: the environment's can't work.
    """
    if tls is None:
        return _tls_of_environment()
    if isinstance(tls, bool):
        return TLS() if tls else None
    return tls


def _tls_of_environment() -> TLS | None:
    value = os.environ.get(USE_TLS, "").strip().lower()
    if value not in (*ON, *OFF):
        raise UsageError(f"{USE_TLS} is 1 or 0, not {value!r:.40}")
    ca, cert, key, name = (os.environ.get(variable) or None for variable in (CA, CERT, KEY, SERVER_NAME))
    if value in ON or ca or cert or key or name:
        return TLS(ca, cert, key, name)
    return None
