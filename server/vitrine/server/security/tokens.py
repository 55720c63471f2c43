"""Reads the file of tokens: `NAME SHA256 PERMISSIONS` on each line, `predict,activations` for example.

No error quotes a line: there may be a token in the place of its SHA-256.
"""

import re
from functools import partial
from pathlib import Path

from vitrine.server.errors import FileError
from vitrine.server.security.access import Access, Caller, Permission, Token
from vitrine.server.security.watched_files import WatchedFiles, read_file

SHA256 = re.compile("[0-9a-fA-F]{64}")
"""A digest as `sha256sum` prints it."""


def open_access(path: Path | None) -> Access:
    """The access that a file of tokens gives, following the file; without one, anyone is let in.

    Raises:
        FileError: the file can't be used.
    """
    return Access(None if path is None else WatchedFiles([path], partial(read_tokens, path)).current)


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Reads the file; empty lines and those that begin with # are ignored.

    Raises:
        FileError: it can't be read, a line isn't `NAME SHA256 PERMISSIONS`, a token is there twice, or there is none.
    """
    tokens = check_lines(path)
    if not tokens:
        raise FileError(f"{path} has no tokens: nobody could call; to let everybody in, leave --tokens out")
    return tuple(tokens.values())


def check_lines(path: Path) -> dict[bytes, Token]:
    """The tokens of a file, by digest, which may be none.

    Raises:
        FileError: it can't be read, a line isn't `NAME SHA256 PERMISSIONS`, or a token is there twice.
    """
    tokens: dict[bytes, Token] = {}
    for number, line in enumerate(_lines(path), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            token = _read_line(line, f"{path}, line {number}")
            if token.digest in tokens:
                raise FileError(f"{path}, line {number}: a line above has the same token")
            tokens[token.digest] = token
    return tokens


def _lines(path: Path) -> list[str]:
    try:
        return read_file(path).decode().splitlines()
    except UnicodeDecodeError as error:
        raise FileError(f"{path} isn't UTF-8 text") from error


def _read_line(line: str, place: str) -> Token:
    words = line.split()
    if len(words) != 3:
        raise FileError(f"{place}: {len(words)} words instead of three, NAME SHA256 PERMISSIONS")
    name, digest, permissions = words
    if not SHA256.fullmatch(digest):
        raise FileError(f"{place}: the second word isn't the 64 hex digits of a token's SHA-256")
    return Token(bytes.fromhex(digest), Caller(name, _read_permissions(permissions, place)))


def _read_permissions(words: str, place: str) -> frozenset[Permission]:
    try:
        return frozenset(Permission(word) for word in words.split(","))
    except ValueError:
        known = ", ".join(permission.value for permission in Permission)
        raise FileError(f"{place}: the third word isn't some of {known}, with commas between") from None
