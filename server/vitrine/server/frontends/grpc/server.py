"""Builds the gRPC server: which services it has, and what a connection may do."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import grpc
import grpc.aio

from vitrine.server.frontends.grpc.credentials import server_credentials
from vitrine.server.frontends.grpc.gate import Gate, caller_of
from vitrine.server.frontends.grpc.handlers import anyone, guarded_handlers
from vitrine.server.inference.call import Call
from vitrine.server.inference.service import Classifier
from vitrine.server.models.repository import LoadModel
from vitrine.server.observers import forgiving
from vitrine.server.process.config import ServerConfig
from vitrine.server.process.port import address_of, cannot_listen
from vitrine.server.protocols.health import SERVICE as HEALTH_SERVICE
from vitrine.server.protocols.health import HealthServicer
from vitrine.server.protocols.oip.inputs import PACKED_BYTES, fields_per_image
from vitrine.server.protocols.oip.servicer import PERMISSIONS as OIP_PERMISSIONS
from vitrine.server.protocols.oip.servicer import SERVICE as OIP_SERVICE
from vitrine.server.protocols.oip.servicer import OipServicer
from vitrine.server.protocols.reflection import SERVICE as REFLECTION
from vitrine.server.protocols.reflection import ReflectionServicer
from vitrine.server.protocols.v1.convert import MAX_NAMES
from vitrine.server.protocols.v1.servicer import PERMISSIONS, SERVICE, ClassifierServicer
from vitrine.server.security.tokens import open_access

OPEN_SERVICES = (HEALTH_SERVICE.full_name, REFLECTION.full_name)
"""What needs no token: orchestrators have none, and the services' descriptions are public."""


PENDING_CALLS, MOST_PENDING_CALLS = 10_000, 20_000
"""How many calls may wait to be taken up before gRPC's core cancels some of them, and then each further one.

By default 1,000 and 3,000: a few connections that open and cancel calls fast ("rapid reset") fill that in a moment, and
other callers' calls end with CANCELLED.
"""

WAITING_SECONDS = 3600
"""How long a call may wait to be taken up before gRPC's core ends it with CANCELLED, though its caller still waits.

By default 30: on a machine that is too busy for so long, calls in the queue were lost. Whoever calls has a deadline to
say how long that is worth it, and a call whose caller has gone leaves the queue by itself.
"""

CONNECTION_CALLS = 1000
"""How many calls a connection may have under way; a client of gRPC keeps further ones back by itself.

Calls that were cancelled count too, until the caller answers a PING sent after each: or a connection would fill the
above by opening and cancelling. Core's "overload protection", which counts every call until it is freed, is off: it
refuses a busy caller's within the limit with UNAVAILABLE.
"""

CHECK_SECONDS = 0.1
"""How often gRPC is asked whether its server still runs: it tells when it has been asked, and by a log otherwise."""

CALL_TASK = "rpc_task"
"""What gRPC calls the task of a call. It says that it has stopped when its core has: tasks may still be ending then."""

LAST_SECONDS = 1.0
"""How long they may take. Those that are left when the event loop is closed are cancelled, and log that as a fault."""

HANDSHAKE_MS = 20_000
"""How long a connection may take to say what HTTP/2 begins with. Each that says nothing holds an open file."""


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
        self.health.serve(("", SERVICE.full_name, OIP_SERVICE.full_name))

    @property
    def port(self) -> int:
        """The port that was taken."""
        return int(self.address.rpartition(":")[2])

    async def fails(self) -> str:
        """Waits until gRPC's server has ended though nobody stopped it; gives the name of what was raised in it.

        A call whose path is no UTF-8 ends it: it decodes the path where nothing is caught.
        """
        while True:
            try:
                await self.server.wait_for_termination(CHECK_SECONDS)
            except Exception as error:
                return type(error).__name__

    async def drain(self, seconds: float) -> None:
        """Takes no new requests, lets those under way finish for up to `seconds`, then ends the rest."""
        await self.server.stop(seconds)
        if left := [task for task in asyncio.all_tasks() if task.get_name() == CALL_TASK]:
            await asyncio.wait(left, timeout=LAST_SECONDS)


METHODS = tuple(
    f"/{service.full_name}/{name}"
    for service in (SERVICE, OIP_SERVICE, HEALTH_SERVICE, REFLECTION)
    for name in service.methods_by_name
)
"""Every method that there is, as calls name it."""


def build_server(
    classifier: Classifier,
    config: ServerConfig,
    load: LoadModel | None = None,
    observers: Sequence[Callable[[Call], None]] = (),
    meters: Sequence[Callable[[Call], None]] = (),
) -> GrpcServer:
    """Builds a server and binds it.

    Args:
        classifier: answers.
        config: the settings.
        load: looks into the model repository; None: there is none.
        observers: told of every call of a model's service when it is over.
        meters: told of every call, also of those that are refused at the gate, or ask for health and descriptions.

    Raises:
        StartupError: the address can't be listened on, or not without encryption; or certificates or tokens can't be
            used.
    """
    credentials = server_credentials(config)
    access = open_access(config.tokens)
    meters = _forgiving(meters)
    gate = Gate(access, OPEN_SERVICES, PERMISSIONS | OIP_PERMISSIONS, meters)
    server = grpc.aio.server(options=_options(config), interceptors=[gate])
    health = HealthServicer()
    identify = partial(caller_of, access)
    observers = [*_forgiving([classifier.statistics.observe, *observers]), *meters]
    ours, theirs = ClassifierServicer(classifier), OipServicer(classifier, health, load)
    handlers = [
        guarded_handlers(ours, SERVICE, identify, observers, lambda: _most_fields(config, 1)),
        guarded_handlers(
            theirs, OIP_SERVICE, identify, observers, lambda: _most_oip_fields(config, classifier), PACKED_BYTES
        ),
        guarded_handlers(health, HEALTH_SERVICE, anyone, meters),
    ]
    if config.reflection:
        named = (SERVICE, OIP_SERVICE, HEALTH_SERVICE, REFLECTION)
        reflecting = ReflectionServicer([service.full_name for service in named])
        handlers.append(guarded_handlers(reflecting, REFLECTION, anyone, meters))
    server.add_generic_rpc_handlers(handlers)
    return GrpcServer(server, health, _bind(server, config.host, config.port, credentials))


def _forgiving(observers: Iterable[Callable[[Call], None]]) -> Sequence[Callable[[Call], None]]:
    """The same observers: where one fails, the call's caller has its answer, and the others are told."""
    return [forgiving(observe, "an observer of calls failed") for observe in observers]


def _most_fields(config: ServerConfig, each: int) -> int:
    """How many fields a good request has at most: `each` for an image, the names of layers, and a few besides."""
    return config.limits.max_images * each + MAX_NAMES + 64


def _most_oip_fields(config: ServerConfig, classifier: Classifier) -> int:
    """The same for typed pixels: of the largest model that is served, and of no more than a message can hold."""
    models = [entry.model for entry in classifier.models.snapshot.entries if entry.model]
    each = max(map(fields_per_image, models), default=1)
    return min(_most_fields(config, each), _most_fields(config, 1) + config.limits.max_message_bytes // PACKED_BYTES)


def _options(config: ServerConfig) -> list[tuple[str, int]]:
    max_message_bytes = config.limits.max_message_bytes
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        (
            "grpc.http2.min_recv_ping_interval_without_data_ms",
            10_000,
        ),  # clients that probe a slow call aren't turned out
        ("grpc.server.max_pending_requests", PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", MOST_PENDING_CALLS),
        ("grpc.server_max_unrequested_time_in_server", WAITING_SECONDS),
        ("grpc.max_concurrent_streams", CONNECTION_CALLS),
        ("grpc.http.overload_protection", 0),
        ("grpc.http2.ping_on_rst_stream_percent", 100),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
        ("grpc.so_reuseport", int(config.shares_port)),  # else two servers would share a port and not know of it
    ]


def _bind(server: grpc.aio.Server, host: str, port: int, credentials: grpc.ServerCredentials | None) -> str:
    address = address_of(host, port)
    try:
        taken = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    except RuntimeError as error:
        raise cannot_listen(host, port) from error
    return address_of(host, taken)
