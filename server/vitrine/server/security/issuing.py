"""Makes tokens: a secret for the caller, and a line for the server's file, from which the secret can't be found."""

import hashlib
import secrets
from collections.abc import Iterable
from pathlib import Path

from vitrine.server.errors import FileError
from vitrine.server.security.access import Permission
from vitrine.server.security.tokens import check_lines

TOKEN_BYTES = 32
"""Random bytes of a token: nobody guesses it."""

PRIVATE = 0o600
"""The rights of a new file: its owner's alone."""


def make_token(name: str, permissions: Iterable[Permission]) -> tuple[str, str]:
    """A new token, and its line `NAME SHA256 PERMISSIONS`.

    Raises:
        FileError: a line can't have that name.
    """
    if not name.isprintable() or len(name.split()) != 1 or name.startswith("#"):
        raise FileError(f"a caller's name is one word that doesn't begin with #, not {name!r}")
    token = secrets.token_urlsafe(TOKEN_BYTES)
    allowed = ",".join(permission.value for permission in permissions)
    return token, f"{name} {hashlib.sha256(token.encode()).hexdigest()} {allowed}"


def add_line(file: Path, line: str) -> None:
    """Adds a line to a file of tokens, which is made if it isn't there.

    A server that reads meanwhile sees the old file or the whole line: it is written by one call.

    Raises:
        FileError: the file can't be written; or it has a line that no server takes, which then would not take this one.
    """
    try:
        if not file.exists():
            file.touch(PRIVATE)
        before = file.read_bytes()
        check_lines(file)
        start = b"" if not before or before.endswith(b"\n") else b"\n"
        with file.open("ab", buffering=0) as opened:
            opened.write(start + line.encode() + b"\n")
    except OSError as error:
        raise FileError(f"can't write {file}: {error.strerror}") from error
