"""Secures connections: TLS with certificates that follow their files, or plaintext where that is allowed."""

import logging
from functools import partial

import grpc

from vitrine.server.frontends.grpc.config import GrpcConfig
from vitrine.server.security.certificates import Certificates, TlsFiles, read_certificates
from vitrine.server.security.watched_files import WatchedFiles

logger = logging.getLogger(__name__)


def server_credentials(config: GrpcConfig, *, takes_tokens: bool) -> grpc.ServerCredentials | None:
    """The credentials that gRPC secures connections with; None for plaintext.

    Args:
        config: the settings.
        takes_tokens: whether callers send tokens, which plaintext exposes.

    Raises:
        FileError: a certificate or key can't be used.
    """
    if config.tls is not None:
        return _dynamic_credentials(config.tls)
    if config.exposes_plaintext:
        tokens = ", including callers' tokens" if takes_tokens else ""
        logger.warning("plaintext on %s: the network between can read all messages%s", config.host, tokens)
    return None


def _dynamic_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    watched = WatchedFiles(files.paths, partial(read_certificates, files))
    known = watched.current()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC before each handshake, one at a time; None: nothing has changed."""
        nonlocal known
        latest = watched.current()
        if latest is known:
            return None
        known = latest
        return _to_grpc(latest)

    mutual = files.client_ca is not None
    return grpc.dynamic_ssl_server_credentials(_to_grpc(known), fetch, mutual)  # type: ignore[arg-type]  # None is meant


def _to_grpc(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
    pairs = [(certificates.key, certificates.chain)]
    return grpc.ssl_server_certificate_configuration(pairs, certificates.client_ca)
