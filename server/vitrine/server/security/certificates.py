"""Reads the files of TLS and checks that they belong together. It knows no gRPC, and sends nothing.

Python's OpenSSL does the checking: gRPC's own error is only that a handshaker couldn't be made.
"""

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from vitrine.server.errors import FileError
from vitrine.server.security.watched_files import read_file


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files of the certificates, all in PEM."""

    cert: Path
    """The server's certificate, and those between it and its authority."""
    key: Path
    """Its private key, not encrypted."""
    client_ca: Path | None = None
    """The authorities whose certificates clients must present; None: clients need none."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files."""
        return (self.cert, self.key) + (() if self.client_ca is None else (self.client_ca,))


@dataclass(frozen=True, slots=True)
class Certificates:
    """The content of the files: PEM, checked."""

    chain: bytes
    """The server's certificate and those between it and its authority."""
    key: bytes = field(repr=False)
    """Its private key."""
    client_ca: bytes | None
    """The authorities that vouch for clients; None: clients need no certificate."""


def read_certificates(files: TlsFiles) -> Certificates:
    """Reads and checks the files.

    Raises:
        FileError: one can't be read or isn't PEM, or the key isn't the certificate's.
    """
    contents = [read_file(path) for path in files.paths]
    _check_pair(files.cert, files.key)
    if files.client_ca is not None:
        _check_authorities(files.client_ca)
    if contents != [read_file(path) for path in files.paths]:  # OpenSSL reads files only, so it read them once more
        raise FileError(f"{files.cert} and the files with it changed while they were read")
    chain, key, *authorities = contents
    return Certificates(chain, key, authorities[0] if authorities else None)


def _check_pair(cert: Path, key: Path) -> None:
    try:
        no_password = ""  # without one, OpenSSL would ask for it on the terminal
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, no_password)
    except OSError as error:  # what OpenSSL finds wrong is an OSError, too
        raise FileError(
            f"{cert} and {key} aren't a certificate and its unencrypted private key, both in PEM: {_cause(error)}"
        ) from error


def _check_authorities(client_ca: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(client_ca)
    except OSError as error:
        raise FileError(f"{client_ca} has no certificates in PEM: {_cause(error)}") from error


def _cause(error: OSError) -> str:
    words = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return (words or "it can't be decoded").replace("_", " ").lower()
