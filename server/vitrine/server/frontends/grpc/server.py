"""The gRPC front end: which services it has, and how connections are limited."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import grpc
import grpc.aio

from vitrine.server.frontends.grpc.config import GrpcConfig
from vitrine.server.frontends.grpc.credentials import server_credentials
from vitrine.server.frontends.grpc.gate import Gate, caller_of
from vitrine.server.frontends.grpc.handlers import guarded_handlers
from vitrine.server.inference.call import Call
from vitrine.server.inference.service import Service
from vitrine.server.observers import suppress_and_log
from vitrine.server.protocols.services import endpoints_of
from vitrine.server.security.addresses import address_of, cannot_listen

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

CONNECTION_CALLS = 1000
"""Calls that a connection may have under way; a client of gRPC keeps further ones back by itself.

Calls that were cancelled count too, until the caller answers a PING sent after each: or a connection would fill the
above by opening and cancelling. Core's "overload protection", which counts every call until it is freed, is off: it
refuses a busy caller's within the limit with UNAVAILABLE.
"""

CHECK_SECONDS = 0.1
"""Seconds between two checks whether gRPC's server still runs: it reports its own end only to such a check."""

CALL_TASK = "rpc_task"
"""gRPC's name for the task of a call. Its `stop` returns when its core has stopped: tasks may still be ending then."""

LAST_SECONDS = 1.0
"""Seconds that these tasks may take. Those that are left when the event loop closes log a traceback."""

LOST_SECONDS = 0.5
"""Seconds between two looks, while gRPC's server stops, at whether all that is left of it are lost calls."""

HANDSHAKE_MS = 20_000
"""Milliseconds that a connection may take to send the preface of HTTP/2. Each silent one holds an open file."""


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
        meters = _safe(service.meters)
        observers = [*_safe(service.observers), *meters]
        endpoints = endpoints_of(service, reflection=config.reflection)
        # 2. A gate before them, where it has something to do: it costs every call a few microseconds.
        access = service.access
        gates = [Gate(access, endpoints, meters)] if access.takes_tokens or meters else []
        # 3. gRPC's own server, bound to the address.
        credentials = server_credentials(config, takes_tokens=access.takes_tokens)
        self._server = grpc.aio.server(
            options=_options(service.limits.max_message_bytes, shares_port=config.shares_port), interceptors=gates
        )
        identify = partial(caller_of, access)
        self._server.add_generic_rpc_handlers(
            [guarded_handlers(endpoint, identify, meters if endpoint.public else observers) for endpoint in endpoints]
        )
        self._address = _bind(self._server, config, credentials)

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

    async def failed(self) -> str:
        """Waits until gRPC's server has ended without being stopped; gives the name of its exception.

        A call whose path is no UTF-8 ends it: it decodes the path where nothing is caught.
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
        """
        stopping, quiet = asyncio.ensure_future(self._server.stop(seconds)), False
        while not (await asyncio.wait([stopping], timeout=LOST_SECONDS))[0]:
            if quiet and not _call_tasks():
                logger.info("ending calls that gRPC has accepted and never handed over")
                await self._server.stop(None)
            quiet = not _call_tasks()
        stopping.result()
        if left := _call_tasks():
            await asyncio.wait(left, timeout=LAST_SECONDS)


def _call_tasks() -> "list[asyncio.Task[Any]]":
    return [task for task in asyncio.all_tasks() if task.get_name() == CALL_TASK]


def _safe(observers: Iterable[Callable[[Call], None]]) -> list[Callable[[Call], None]]:
    """The same observers: where one fails, the call's caller has its answer, and the others are told."""
    return [suppress_and_log(observe, "an observer of calls failed") for observe in observers]


def _options(max_message_bytes: int, *, shares_port: bool) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),  # clients that probe a slow call are let be
        ("grpc.server.max_pending_requests", PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_CALLS),
        ("grpc.server_max_unrequested_time_in_server", WAITING_SECONDS),
        ("grpc.max_concurrent_streams", CONNECTION_CALLS),
        ("grpc.http.overload_protection", 0),
        ("grpc.http2.ping_on_rst_stream_percent", 100),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
        ("grpc.so_reuseport", int(shares_port)),  # else two servers would share a port and not know of it
    ]


def _bind(server: grpc.aio.Server, config: GrpcConfig, credentials: grpc.ServerCredentials | None) -> str:
    address = address_of(config.host, config.port)
    try:
        taken = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    except RuntimeError as error:
        raise cannot_listen(config.host, config.port) from error
    return address_of(config.host, taken)
