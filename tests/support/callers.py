"""Callers with tokens: lines of a server's file of tokens, and the metadata that callers send."""

import hashlib


def line(name: str, permissions: str, token: str | None = None) -> str:
    """A line of the file of tokens; the default token is `secret(name)`."""
    return f"{name} {hashlib.sha256((token or secret(name)).encode()).hexdigest()} {permissions}\n"


def secret(name: str) -> str:
    """A caller's token."""
    return f"the-token-of-{name}"


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Request metadata with a token."""
    return (("authorization", f"Bearer {token}"),)
