"""Secures connections: TLS with certificates that follow their files, or plaintext where that is allowed."""

import logging
import threading
from contextlib import suppress
from functools import partial

import grpc

from vitrine.server.frontends.grpc.config import GrpcConfig
from vitrine.server.frontends.grpc.handshake import usable_certificates
from vitrine.server.security.certificates import CertificateInForce, Certificates, TlsFiles
from vitrine.server.security.expiry import ExpiryWarning
from vitrine.server.security.watched_files import WatchedFiles

logger = logging.getLogger(__name__)

RENEWAL_SECONDS = 1.0
"""Seconds that a new connection waits while renewed certificates are tried; then it gets those before."""


def server_credentials(
    config: GrpcConfig, in_force: CertificateInForce, *, takes_tokens: bool
) -> grpc.ServerCredentials | None:
    """The credentials that gRPC secures connections with; None for plaintext.

    Args:
        config: the settings.
        in_force: told of each certificate that is taken.
        takes_tokens: whether callers send tokens, which plaintext exposes.

    Raises:
        FileError: a certificate or key can't be used.
    """
    if config.tls is not None:
        return _dynamic_credentials(config.tls, in_force)
    if config.exposes_plaintext:
        tokens = ", including callers' tokens" if takes_tokens else ""
        logger.warning("plaintext on %s: the network between can read all messages%s", config.host, tokens)
    return None


def _dynamic_credentials(files: TlsFiles, in_force: CertificateInForce) -> grpc.ServerCredentials:
    renewal = _Renewal(WatchedFiles(files.paths, partial(usable_certificates, files)))
    known = renewal.latest
    warn = ExpiryWarning(files)
    in_force.expires = known.expires
    warn(known)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC before each handshake, one at a time; None: nothing has changed."""
        nonlocal known
        latest = renewal.look()
        warn(latest)
        if latest is known:
            return None
        known = latest
        in_force.expires = known.expires
        return _to_grpc(latest)

    mutual = files.client_ca is not None
    return grpc.dynamic_ssl_server_credentials(_to_grpc(known), fetch, mutual)  # type: ignore[arg-type]  # None is meant


def _to_grpc(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
    pairs = [(certificates.key, certificates.chain)]
    return grpc.ssl_server_certificate_configuration(pairs, certificates.client_ca)


class _Renewal:
    """Reads and tries changed certificates, in a thread of its own that is waited for only for a moment.

    A trial takes gRPC's threads. Those that ask for certificates are among them: with many connections at once, all of
    them would wait for a trial that can't go on.

    Args:
        watched: the certificates.
    """

    def __init__(self, watched: WatchedFiles[Certificates]) -> None:
        self._watched = watched
        self._reading: threading.Thread | None = None
        self.latest = watched.current()
        """The certificates in force."""

    def look(self) -> Certificates:
        """The certificates in force, renewed where their files have changed. One thread at a time may call it."""
        if self._reading is not None and self._reading.is_alive():
            return self.latest
        if self._watched.changed:
            self._reading = threading.Thread(target=self._read, name="certificates", daemon=True)
            with suppress(RuntimeError):  # it can't be started just now, and the next connection tries again
                self._reading.start()
                self._reading.join(RENEWAL_SECONDS)
        return self.latest

    def _read(self) -> None:
        self.latest = self._watched.current()
