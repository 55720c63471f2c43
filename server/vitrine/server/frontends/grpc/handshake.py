"""Tries certificates by a real handshake, with gRPC's own stack on both sides.

gRPC's TLS library takes fewer kinds of keys and encodings than OpenSSL, and says so only when nobody gets in. The port of
the trial is on the loopback interface, free, and open for a moment; nothing answers there.
"""

from concurrent.futures import ThreadPoolExecutor

import grpc

from vitrine.server.errors import FileError
from vitrine.server.security.certificates import Certificates

TRIAL_SECONDS = 10.0
"""Seconds that a handshake may take."""

LOOPBACK = "127.0.0.1:0"


def check_handshake(certificates: Certificates) -> None:
    """Does nothing when a gRPC client and a gRPC server can agree with these certificates.

    The client trusts the server's own certificate, and expects the name in it. Whether the certificate is valid at this
    time is left out: a server may start with one that isn't.

    Raises:
        FileError: they can't.
    """
    pair = [(certificates.key, certificates.chain)]
    credentials = grpc.ssl_server_credentials(pair, certificates.client_ca, require_client_auth=False)
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        try:
            port = server.add_secure_port(LOOPBACK, credentials)
            server.start()
            cause = _failure(port, certificates)
        finally:
            server.stop(None).wait()
    if cause:
        raise FileError(f"gRPC can't use the certificate and its key: {cause}")


def _failure(port, certificates):
    options = [
        ("grpc.ssl_target_name_override", certificates.name),
        ("grpc.enable_http_proxy", 0),
    ]
    trusted = grpc.ssl_channel_credentials(certificates.chain)
    with grpc.secure_channel(f"127.0.0.1:{port}", trusted, options) as channel:
        try:
            channel.unary_unary("/trial/Trial")(b"", timeout=TRIAL_SECONDS)
        except grpc.RpcError as error:
            return f"{error.code()} {error.details()}"
