"""The settings of the gRPC front end."""

import socket
from dataclasses import dataclass

from vitrine.server.errors import StartupError
from vitrine.server.ranges import PORTS
from vitrine.server.security.addresses import holds_a_port, is_loopback
from vitrine.server.security.certificates import TlsFiles
from vitrine.server.security.listening import FLAGS, cannot_listen

CONNECTION_CALLS = 256
"""Calls that a connection of HTTP/2 may have under way, open streams among them.

A client keeps further ones back by itself. So a caller who sends more than can be answered waits on its own side, where
it costs the server nothing: a refusal costs as much CPU time as the answer to one image.
"""


@dataclass(frozen=True, slots=True)
class GrpcConfig:
    """The settings of the gRPC front end.

    Raises:
        ConfigError: the port is out of its range.
        StartupError: the host is none, or other machines could read plaintext, and that isn't allowed explicitly.
    """

    host: str = "127.0.0.1"
    """The address to listen on."""
    port: int = 50051
    """The port to listen on, 0 to 65535; 0 takes a free one."""
    shares_port: bool = False
    """Share the port with other processes: set by a supervisor for its workers."""
    tls: TlsFiles | None = None
    """The files of the certificates; None: connections aren't encrypted."""
    insecure: bool = False
    """Allow plaintext on an address that other machines can reach."""
    reflection: bool = True
    """Describe the services to tools such as grpcurl."""
    page: bool = True
    """Give browsers the page, where HTTP/1.1 is spoken."""

    def __post_init__(self) -> None:
        PORTS.check("port", self.port)
        if holds_a_port(self.host):  # before the question who can reach it
            raise cannot_listen(self.host, self.port, FLAGS, socket.gaierror())
        if self.exposes_plaintext and not self.insecure:
            raise StartupError(
                f"other machines can reach {self.host}, and what they send would not be encrypted: give --tls-cert and "
                "--tls-key (VITRINE_TLS_CERT, VITRINE_TLS_KEY), or allow plaintext with --insecure (VITRINE_INSECURE=1)"
            )

    @property
    def exposes_plaintext(self) -> bool:
        """Plaintext is spoken on an address that other machines can reach."""
        return self.tls is None and not is_loopback(self.host)
