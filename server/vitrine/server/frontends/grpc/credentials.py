"""How connections are secured: TLS with certificates that follow their files, or plaintext where that is allowed."""

import ipaddress
import logging
from functools import partial

import grpc

from vitrine.server.errors import StartupError
from vitrine.server.process.config import ServerConfig
from vitrine.server.security.certificates import Certificates, TlsFiles, read_certificates
from vitrine.server.security.watched_files import FollowedFiles

logger = logging.getLogger(__name__)


def server_credentials(config: ServerConfig) -> grpc.ServerCredentials | None:
    """What gRPC secures connections with; None for plaintext.

    Raises:
        FileError: a certificate or key can't be used.
        StartupError: plaintext would be spoken to other machines, and nobody said that it may.
    """
    if config.tls is not None:
        return _dynamic_credentials(config.tls)
    if not is_loopback(config.host):
        _allow_plaintext(config)
    return None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host's address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # a name, which may stand for anything
        return False


def _allow_plaintext(config: ServerConfig) -> None:
    if not config.insecure:
        raise StartupError(
            f"other machines can reach {config.host}, and what they send would not be encrypted: give --tls-cert and "
            "--tls-key (VITRINE_TLS_CERT, VITRINE_TLS_KEY), or allow plaintext with --insecure (VITRINE_INSECURE=1)"
        )
    tokens = "" if config.tokens is None else ", callers' tokens among it"
    logger.warning("plaintext on %s: whoever is on the way can read what is sent%s", config.host, tokens)


def _dynamic_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    followed = FollowedFiles(files.paths, partial(read_certificates, files))
    known = followed.current()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC before each handshake, one at a time; None: nothing has changed."""
        nonlocal known
        latest = followed.current()
        if latest is known:
            return None
        known = latest
        return _to_grpc(latest)

    mutual = files.client_ca is not None
    return grpc.dynamic_ssl_server_credentials(_to_grpc(known), fetch, mutual)  # type: ignore[arg-type]  # None is meant


def _to_grpc(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
    pairs = [(certificates.key, certificates.chain)]
    return grpc.ssl_server_certificate_configuration(pairs, certificates.client_ca)
