"""Secures connections: TLS with certificates that follow their files, or plaintext where that is allowed."""

import logging
import time

import grpc

from vitrine.server.frontends.grpc.config import GrpcConfig
from vitrine.server.frontends.grpc.handshake import check_handshake
from vitrine.server.security.certificates import CertificateInForce, Certificates, TlsFiles, read_certificates
from vitrine.server.security.watched_files import WatchedFiles

logger = logging.getLogger(__name__)

DAY_SECONDS = 86_400

WARNING_DAYS = 14
"""Days before a certificate expires from which on the log warns, once a day."""


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
    def read() -> Certificates:
        certificates = read_certificates(files)
        check_handshake(certificates, files)
        return certificates

    watched = WatchedFiles(files.paths, read)
    known = watched.current()
    warn = _ExpiryWarning(files)
    in_force.expires = known.expires
    warn(known)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC before each handshake, one at a time; None: nothing has changed."""
        nonlocal known
        latest = watched.current()
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


class _ExpiryWarning:
    """Warns of a certificate that is about to expire, or has expired: at once, and then once a day."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._known: Certificates | None = None
        self._next = 0.0

    def __call__(self, certificates: Certificates) -> None:
        now = time.time()
        if certificates is self._known and now < self._next:
            return
        self._known, self._next = certificates, now + DAY_SECONDS
        days = (certificates.expires - now) / DAY_SECONDS
        if days < 0:
            logger.error("the certificate in %s has expired: clients don't trust it, renew it", self._files.cert)
        elif days < WARNING_DAYS:
            logger.warning("the certificate in %s expires in %.1f days: renew it", self._files.cert, days)
