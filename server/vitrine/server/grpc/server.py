"""Builds the gRPC server: which services it has, and what a connection may do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import grpc
import grpc.aio
from grpc_reflection.v1alpha import reflection

from vitrine.server.call import Call
from vitrine.server.classifier import Classifier
from vitrine.server.config import ServerConfig
from vitrine.server.grpc.classifier_servicer import PERMISSIONS, SERVICE, ClassifierServicer
from vitrine.server.grpc.credentials import server_credentials
from vitrine.server.grpc.gate import Gate, caller_of
from vitrine.server.grpc.handlers import anyone, guarded_handlers
from vitrine.server.grpc.health import SERVICE as HEALTH_SERVICE
from vitrine.server.grpc.health import HealthServicer
from vitrine.server.port import address_of, cannot_listen
from vitrine.server.tokens import open_access

OPEN_SERVICES = (HEALTH_SERVICE.full_name, reflection.SERVICE_NAME)
"""What needs no token: orchestrators have none, and the services' descriptions are public."""


@dataclass(frozen=True, slots=True)
class GrpcServer:
    """A server that is bound to its address and not yet started."""

    server: grpc.aio.Server
    """gRPC's own."""
    health: HealthServicer
    """What answers `grpc.health.v1`; it is to `leave` before the server drains, or whoever watches holds the drain."""
    address: str
    """HOST:PORT, with the port that was taken."""

    async def start(self) -> None:
        """Starts to answer, and says so in the health service."""
        await self.server.start()
        self.health.serve(("", SERVICE.full_name))

    async def drain(self, seconds: float) -> None:
        """Takes no new requests, lets those under way finish for up to `seconds`, then ends the rest."""
        await self.server.stop(seconds)


def build_server(
    classifier: Classifier, config: ServerConfig, observers: Sequence[Callable[[Call], None]] = ()
) -> GrpcServer:
    """Builds a server and binds it.

    Args:
        classifier: the service.
        config: the settings.
        observers: told of every call of the service when it is over.

    Raises:
        StartupError: the address can't be listened on, or not without encryption; or certificates or tokens can't be
            used.
    """
    credentials = server_credentials(config)
    access = open_access(config.tokens)
    gate = Gate(access, OPEN_SERVICES, PERMISSIONS)
    server = grpc.aio.server(options=_options(config), interceptors=[gate])
    health = HealthServicer()
    classifying = guarded_handlers(ClassifierServicer(classifier), SERVICE, partial(caller_of, access), observers)
    server.add_generic_rpc_handlers((classifying, guarded_handlers(health, HEALTH_SERVICE, anyone)))
    if config.reflection:
        names = (SERVICE.full_name, HEALTH_SERVICE.full_name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
    return GrpcServer(server, health, _bind(server, config.host, config.port, credentials))


def _options(config: ServerConfig) -> list[tuple[str, int]]:
    max_message_bytes = config.limits.max_message_bytes
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        (
            "grpc.http2.min_recv_ping_interval_without_data_ms",
            10_000,
        ),  # clients that probe a slow call aren't turned out
        ("grpc.so_reuseport", int(config.shares_port)),  # else two servers would share a port and not know of it
    ]


def _bind(server: grpc.aio.Server, host: str, port: int, credentials: grpc.ServerCredentials | None) -> str:
    address = address_of(host, port)
    try:
        taken = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    except RuntimeError as error:
        raise cannot_listen(host, port) from error
    return address_of(host, taken)
