"""Callers with tokens: the lines of a server's file of tokens, and what its callers send."""

import hashlib


def line(name: str, permissions: str, token: str | None = None) -> str:
    """A line of the file of tokens; the token is the name's, unless it is given."""
    return f"{name} {hashlib.sha256((token or secret(name)).encode()).hexdigest()} {permissions}\n"


def secret(name: str) -> str:
    """A caller's token."""
    return f"the-token-of-{name}"


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata of whoever calls with a token."""
    return (("authorization", f"Bearer {token}"),)
