"""Reads the files of TLS and checks that they belong together. It knows no gRPC, and sends nothing.

Python's OpenSSL does the checking: gRPC's own error is only that a handshaker couldn't be made.
"""

import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitrine.server.errors import FileError, FileUnavailable
from vitrine.server.security.watched_files import read_file

NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python has no name for."""


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
    name: str
    """A name that the server's certificate is for."""
    expires: float
    """The end of its validity, in seconds since 1970."""


class CertificateInForce:
    """The end of validity of the certificate that new connections get. A front end sets it, and metrics show it."""

    expires: float | None = None
    """In seconds since 1970; None: there is no certificate."""


def read_certificates(files: TlsFiles) -> Certificates:
    """Reads and checks the files.

    Raises:
        FileError: one can't be read or isn't PEM, the key isn't the certificate's, or no client would take it.
    """
    contents = [read_file(path) for path in files.paths]
    shown = _check_pair(files.cert, files.key)
    if files.client_ca is not None:
        _check_authorities(files.client_ca)
    if contents != [read_file(path) for path in files.paths]:  # OpenSSL reads files only, so it read them once more
        raise FileUnavailable(f"{files.cert} and the files with it changed while they were read")
    chain, key, *authorities = contents
    expires = ssl.cert_time_to_seconds(shown["notAfter"])
    return Certificates(chain, key, authorities[0] if authorities else None, _name_in(shown), expires)


def _check_pair(cert: Path, key: Path) -> dict[str, Any]:
    """Checks that a client would take them, whatever the time is; gives what `getpeercert` of `ssl` says of them."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
    try:
        no_password = ""  # without one, OpenSSL would ask for it on the terminal
        server.load_cert_chain(cert, key, no_password)
        client.load_verify_locations(cert)
        return _shown_certificate(server, client)
    except ssl.SSLCertVerificationError as error:
        raise FileError(f"{cert} isn't a certificate that clients take: {error.verify_message}") from error
    except OSError as error:  # what OpenSSL finds wrong is an OSError, too
        raise FileError(
            f"{cert} and {key} aren't a certificate and its unencrypted private key, both in PEM: {_cause(error)}"
        ) from error


def _shown_certificate(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, Any]:
    """The server's certificate as a client sees it, by a handshake in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_side = client.wrap_bio(to_client, to_server)
    server_side = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (client_side, server_side, client_side):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return dict(client_side.getpeercert() or {})


def _name_in(shown: dict[str, Any]) -> str:
    """A name that a certificate is for; that of a wildcard stands for one below it."""
    subject = {key: value for part in shown.get("subject", ()) for key, value in part}
    alternatives = [value for _, value in shown.get("subjectAltName", ())]
    name = str((alternatives or [subject.get("commonName", "")])[0])
    return name.replace("*", "any", 1) if name.startswith("*") else name


def _check_authorities(client_ca: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(client_ca)
    except OSError as error:
        raise FileError(f"{client_ca} has no certificates in PEM: {_cause(error)}") from error


def _cause(error: OSError) -> str:
    words = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return (words or "it can't be decoded").replace("_", " ").lower()
