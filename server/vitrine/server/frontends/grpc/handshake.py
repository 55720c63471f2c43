"""Tries certificates by a real handshake, with gRPC's own stack on both sides.

gRPC's TLS library takes fewer kinds of keys and encodings than OpenSSL, and says so only when nobody gets in. The
trial's port is a free one on the loopback interface, open for a few milliseconds, and nothing answers there.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc

from vitrine.server.errors import FileError, FileUnavailable
from vitrine.server.security.certificates import Certificates, TlsFiles, read_certificates
from vitrine.server.security.listening import bind_error

logger = logging.getLogger(__name__)

TRIAL_SECONDS = 10.0
"""Seconds that a handshake may take; one that takes longer says nothing about the certificates."""

HOST = "127.0.0.1"

DISTRUST = ("CERTIFICATE_VERIFY_FAILED", "Hostname Verification")
"""Words in the errors of a client that got the certificate and doesn't take it, since it has expired for example."""


def usable_certificates(files: TlsFiles) -> Certificates:
    """Reads certificates, and tries them.

    Raises:
        FileError: one of the files can't be read, or can't be used.
    """
    certificates = read_certificates(files)
    check_handshake(certificates, files)
    return certificates


def check_handshake(certificates: Certificates, files: TlsFiles) -> None:
    """Does nothing when a gRPC client and a gRPC server can agree with these certificates.

    Args:
        certificates: the certificates.
        files: where they are from, for the error.

    Raises:
        FileError: they can't.
        FileUnavailable: it can't be tried just now.
    """
    if _works(certificates):
        return
    if certificates.client_ca and _works(replace(certificates, client_ca=None)):
        raise FileError(f"{files.client_ca} can't be used by gRPC: take PEM without a byte order mark")
    raise FileError(
        f"{files.cert} and {files.key} can't be used by gRPC, and no client would get in: take an RSA key or an "
        "elliptic curve key (P-256, P-384), both files in PEM without a byte order mark"
    )


def _works(certificates: Certificates) -> bool:
    if error := bind_error(HOST, 0, shares_port=False):
        raise FileUnavailable(f"the certificates can't be tried: {error.strerror}")
    pairs = [(certificates.key, certificates.chain)]
    credentials = grpc.ssl_server_credentials(pairs, certificates.client_ca, require_client_auth=False)
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        try:
            port = server.add_secure_port(f"{HOST}:0", credentials)
        except RuntimeError:  # an address is there: it is the certificates that it can't be bound with
            return False
        server.start()
        try:
            return _agrees(port, certificates)
        finally:
            server.stop(None).wait()


def _agrees(port: int, certificates: Certificates) -> bool:
    """True if a client that trusts the certificate gets an answer, or decides by itself that it doesn't trust it."""
    trusting = grpc.ssl_channel_credentials(certificates.chain)
    options = [
        ("grpc.ssl_target_name_override", certificates.name),
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    with grpc.secure_channel(f"{HOST}:{port}", trusting, options) as channel:
        try:
            channel.unary_unary("/trial/Trial", bytes, bytes)(b"", timeout=TRIAL_SECONDS)
        except grpc.RpcError as error:
            answer: grpc.Call = error  # type: ignore[assignment]  # it is both
            if answer.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                logger.warning("the certificates couldn't be tried within %g s, and are taken", TRIAL_SECONDS)
                return True
            failed = answer.code() is grpc.StatusCode.UNAVAILABLE
            return not failed or any(words in (answer.details() or "") for words in DISTRUST)
    return True
