"""The gRPC front end: which services it has, and how connections are limited."""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import grpc
import grpc.aio

from vitrine.server.frontends.grpc.config import CONNECTION_CALLS, GrpcConfig
from vitrine.server.frontends.grpc.connection_limit import momentary
from vitrine.server.frontends.grpc.core_server import CALL_TASK, CoreServer, is_supported
from vitrine.server.frontends.grpc.credentials import server_credentials
from vitrine.server.frontends.grpc.gate import NO_SUCH_METHOD, Gate, caller_of
from vitrine.server.frontends.grpc.handlers import guarded_handlers
from vitrine.server.frontends.grpc.watch import ConnectionWatch
from vitrine.server.inference.connections import ConnectionConfig
from vitrine.server.inference.service import Service
from vitrine.server.observers import safe_observers
from vitrine.server.protocols.metadata import Metadata, request_id_of
from vitrine.server.protocols.services import endpoints_of
from vitrine.server.security.addresses import address_of
from vitrine.server.security.listening import FLAGS, bind_error, cannot_listen

logger = logging.getLogger(__name__)

PENDING_CALLS, MAX_PENDING_CALLS = 10_000, 20_000
"""Calls that may wait to be taken up before gRPC's core cancels some of them, and then each further one.

By default 1,000 and 3,000: a few connections that open and cancel calls fast ("rapid reset") fill that in a moment, and
other callers' calls end with CANCELLED.
"""

WAITING_SECONDS = 3600
"""Seconds that a call may wait to be taken up before gRPC's core ends it with CANCELLED, though its caller still waits.

By default 30: on a machine that is too busy for so long, calls in the queue were lost. Callers have deadlines of their
own, and a call whose caller has gone leaves the queue by itself.
"""

CHECK_SECONDS = 0.1
"""Seconds between two checks whether gRPC's server still runs: it reports its own end only to such a check."""

LAST_SECONDS = 1.0
"""Seconds that calls may take to end when gRPC's `stop` has returned: its core has stopped, their tasks may not have.

Those that are left when the event loop closes log a traceback.
"""

LOST_SECONDS = 0.5
"""Seconds between two looks, while gRPC's server stops, at whether all that is left of it are lost calls."""

PING_MS = 5_000
"""Least milliseconds between a client's pings, with calls and without; a third that comes earlier ends its connection.

Clients behind load balancers ping every 10 s (Go allows no less), and networks may shift two pings towards each other.
"""

HANDSHAKE_MS = 20_000
"""Milliseconds that a connection may take to send the preface of HTTP/2. Each silent one holds an open file."""

SETTINGS_MS = 10_000
"""Milliseconds that a peer may take to acknowledge the server's settings; then its connection is closed.

Until then core has limits of its own for it: 16 MiB of headers a call. By default 60 s.
"""

IDLE_MS = 600_000
"""Milliseconds without a call before a connection is closed. A client of gRPC opens another one by itself."""


class GrpcFrontend:
    """A gRPC server; it is bound to its address when it is made, and answers from `start` on.

    Args:
        service: answers; its observers and meters are told of the calls.
        config: the settings.

    Raises:
        StartupError: the address can't be listened on, or a certificate can't be used.
    """

    def __init__(self, service: Service, config: GrpcConfig) -> None:
        # 1. The services, and the observers of their calls.
        meters = safe_observers(service.meters)
        observers = [*safe_observers(service.observers), *meters]
        endpoints = endpoints_of(service, reflection=config.reflection)
        # 2. A gate before them, where it has something to do: it costs every call a few microseconds.
        access = service.access
        gates = [Gate(access, endpoints, meters)] if access.takes_tokens or meters else []
        # 3. The handlers, which ask for the callers' messages themselves.
        self._connections = service.connections
        largest, identify = service.limits.max_message_bytes, partial(caller_of, access)
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        for endpoint in endpoints:
            told = meters if endpoint.public else observers
            handlers |= guarded_handlers(endpoint, identify, self._connections, largest, told)
        # 4. gRPC's own server, bound to the address, and a watch over its connections.
        credentials = server_credentials(config, service.certificate, takes_tokens=access.takes_tokens)
        options = _options(largest, self._connections.config, shares_port=config.shares_port)
        busy = [endpoint.path(name) for endpoint in endpoints for name in endpoint.busy]
        self._server = _core_server(handlers, gates, options, busy)
        self._address = _bind(self._server, config, credentials)
        self._watch = ConnectionWatch(self._connections, self.port)

    @property
    def address(self) -> str:
        """HOST:PORT, with the port that was taken."""
        return self._address

    @property
    def port(self) -> int:
        """The port that was taken."""
        return int(self._address.rpartition(":")[2])

    async def start(self) -> None:
        """Starts to answer."""
        await self._server.start()
        self._watch.start()

    async def failed(self) -> str:
        """Waits until gRPC's server has ended without being stopped; gives the name of its exception.

        With versions of grpcio that `core_server` doesn't know, a call whose path is no UTF-8 ends it.
        """
        while True:
            try:
                running = await self._server.wait_for_termination(CHECK_SECONDS)
            except Exception as error:
                return type(error).__name__
            if not running:  # it was stopped, and would say so again at once
                await asyncio.sleep(CHECK_SECONDS)

    async def drain(self, seconds: float) -> None:
        """Takes no new requests, lets those under way finish for up to `seconds`, then ends the rest.

        A call that reaches gRPC's core in the moment that it stops can be lost: it comes too late to be refused, nobody
        takes it up, and core would wait for it. So would its caller. A lost call has no task: when two looks find none,
        what is left is ended, and clients send such calls again.

        Streams that are idle are ended soon: nothing of them is under way.
        """
        if seconds:  # otherwise everything is ended anyway, and another front end may follow
            self._connections.leave()
        stopping, quiet = asyncio.ensure_future(self._server.stop(seconds)), False
        while not (await asyncio.wait([stopping], timeout=LOST_SECONDS))[0]:
            if quiet and not _call_tasks():
                logger.info("ending calls that gRPC has accepted and never handed over")
                await self._server.stop(None)
            quiet = not _call_tasks()
        stopping.result()
        if left := _call_tasks():
            await asyncio.wait(left, timeout=LAST_SECONDS)
        self._watch.stop()


def _core_server(
    handlers: "dict[str, grpc.RpcMethodHandler[Any, Any]]",
    gates: Sequence[Gate],
    options: list[tuple[str, int]],
    busy: Sequence[str],
) -> grpc.aio.Server:
    """gRPC's server; grpcio's own where ours doesn't fit its version."""
    if is_supported():
        refuse = gates[0].refuse_unknown if gates else _refuse_unknown
        ours: Any = CoreServer(handlers, gates, options, refuse, busy)
        return cast("grpc.aio.Server", ours)
    logger.warning("this version of grpcio is unknown: calls whose path is no UTF-8 will restart gRPC's server")
    server = grpc.aio.server(options=options, interceptors=list(gates))
    for path, handler in handlers.items():
        service, _, method = path.strip("/").rpartition("/")
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {method: handler})])
    return server


def _refuse_unknown(metadata: Metadata) -> tuple[grpc.Status, str]:
    return NO_SUCH_METHOD, request_id_of(metadata)


def _call_tasks() -> "list[asyncio.Task[Any]]":
    return [task for task in asyncio.all_tasks() if task.get_name() == CALL_TASK]


def _options(max_message_bytes: int, connections: ConnectionConfig, *, shares_port: bool) -> list[tuple[str, int]]:
    age = [("grpc.max_connection_age_ms", round(connections.max_age_seconds * 1000))]
    return [
        *(age if connections.max_age_seconds else ()),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.per_message_decompression", 0),  # see `handlers`
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.http2.min_ping_interval_without_data_ms", PING_MS),
        ("grpc.keepalive_permit_without_calls", 1),  # else PING_MS is two hours for a connection without calls
        ("grpc.server.max_pending_requests", PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_CALLS),
        ("grpc.server_max_unrequested_time_in_server", WAITING_SECONDS),
        # Calls that were cancelled count too, until the caller answers a PING sent after each: or a connection would
        # fill the server by opening and cancelling. Core's "overload protection", which counts every call until it is
        # freed, is off: it refuses a busy caller's within the limit with UNAVAILABLE.
        ("grpc.max_concurrent_streams", CONNECTION_CALLS),
        ("grpc.http2.bdp_probe", 0),  # or core receives 4 MB of each message that nobody reads, rather than 64 KiB
        ("grpc.http.overload_protection", 0),
        ("grpc.http2.ping_on_rst_stream_percent", 100),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
        ("grpc.max_connection_idle_ms", IDLE_MS),
        ("grpc.http2.settings_timeout", SETTINGS_MS),
        ("grpc.max_allowed_incoming_connections", momentary(connections)),
        ("grpc.so_reuseport", int(shares_port)),  # else two servers would share a port and not know of it
    ]


def _bind(server: grpc.aio.Server, config: GrpcConfig, credentials: grpc.ServerCredentials | None) -> str:
    address = address_of(config.host, config.port)
    try:
        taken = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    except RuntimeError as error:  # it doesn't say why
        reason = bind_error(config.host, config.port, shares_port=config.shares_port)
        raise cannot_listen(config.host, config.port, FLAGS, reason or OSError(str(error))) from error
    return address_of(config.host, taken)
