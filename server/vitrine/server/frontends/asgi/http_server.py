"""uvicorn as the application's host: Connect and gRPC-Web over HTTP/1.1, on a port of their own."""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from vitrine.server.frontends.asgi.application import Application, CutOffError
from vitrine.server.frontends.asgi.exchange import FRONT_END, name_of, network_of
from vitrine.server.frontends.grpc.config import GrpcConfig
from vitrine.server.frontends.grpc.connection_limit import max_connections
from vitrine.server.inference.connections import SURPLUS
from vitrine.server.inference.service import Service
from vitrine.server.security.addresses import address_of, is_loopback
from vitrine.server.security.certificates import TlsFiles, read_certificates
from vitrine.server.security.listening import HTTP_FLAGS, cannot_listen
from vitrine.server.security.watched_files import WatchedFiles

logger = logging.getLogger(__name__)

IDLE_SECONDS = 75
"""Seconds that a connection may be open between two requests."""

HEAD_SECONDS = 20.0
"""Seconds that a TLS handshake may take, and that a new connection may take to send the head of its first request."""

CONNECTIONS_RATIO = 1 / 6
"""Connections for one of gRPC's own server, where no limit is set: together they leave files for other things."""

CLOSED_SECONDS = 1.0
"""Seconds that connections may take to close when their calls are over."""


class HttpFrontend:
    """An HTTP/1.1 server; it is bound to its address when it is made, and answers from `start` on.

    Args:
        service: answers; its observers and meters are told of the calls.
        config: the settings.

    Raises:
        StartupError: the address can't be listened on, or a certificate can't be used.
    """

    def __init__(self, service: Service, config: GrpcConfig) -> None:
        local = config.tls is None and is_loopback(config.host)  # a foreign name has no certificate
        self._application = Application(
            service, reflection=config.reflection, page=config.page, local=local, close=self._abort
        )
        self._connections = service.connections
        limits = service.connections.config
        self._most = limits.max_connections or max(1, int(max_connections(limits) * CONNECTIONS_RATIO))
        self._tls = None if config.tls is None else _tls_context(config.tls)
        self._sockets = _bind(config.host, config.port, shares_port=config.shares_port)
        self._address = address_of(config.host, self._sockets[0].getsockname()[1])
        self._has_page = config.page
        self._state = ServerState()
        self._servers: list[asyncio.Server] = []

    @property
    def address(self) -> str:
        """HOST:PORT, with the port that was taken."""
        return self._address

    async def start(self) -> None:
        """Starts to answer."""
        self._application.start()
        http = uvicorn.Config(
            self._application,  # type: ignore[arg-type, unused-ignore]  # scopes are plain dictionaries to it
            http="h11",  # the one of uvicorn's parsers that bounds the head of a request
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # or a caller could name itself another address
            server_header=False,
            date_header=False,
            timeout_keep_alive=IDLE_SECONDS,
        )
        logging.getLogger("uvicorn").setLevel(logging.ERROR)
        logging.getLogger("uvicorn.error").addFilter(_is_fault)
        http.load()
        loop = asyncio.get_running_loop()
        handshake = HEAD_SECONDS if self._tls else None
        for bound in self._sockets:
            settings = {"config": http, "server_state": self._state, "app_state": {}, "_loop": loop}
            connection = partial(_Connection, self._count, **settings)
            server = await loop.create_server(connection, sock=bound, ssl=self._tls, ssl_handshake_timeout=handshake)
            self._servers.append(server)
        scheme = "https" if self._tls else "http"
        logger.info("Connect and gRPC-Web are at %s://%s", scheme, self._address)
        if self._has_page:
            logger.info("open the page in a browser: %s://%s/", scheme, self._address)

    def _count(self) -> None:
        """Counts the connections, and closes some when they are too many: idle ones, of hosts that have the most."""
        connections = self._state.connections
        self._connections.counted(len(connections), FRONT_END)
        if len(connections) > self._most:
            named = {_name_of(connection): connection for connection in connections}
            for name in self._connections.surplus(named, self._most, network_of):
                self._connections.closed[SURPLUS] += 1
                named[name].transport.abort()

    def _abort(self, name: str) -> None:
        """Closes a connection, and drops what its caller doesn't read."""
        for connection in tuple(self._state.connections):
            if _name_of(connection) == name:
                connection.transport.abort()

    async def failed(self) -> str:
        """Waits for ever: nothing ends it."""
        await asyncio.Event().wait()
        return ""

    async def drain(self, seconds: float) -> None:
        """Takes no new connections, lets calls under way finish for up to `seconds`, then ends the rest."""
        for server in self._servers:
            server.close()
        for connection in tuple(self._state.connections):
            connection.shutdown()  # at once, or after its answer
        await self._application.drain(seconds)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSED_SECONDS):
                while self._state.tasks:
                    await asyncio.wait(self._state.tasks)
        for connection in tuple(self._state.connections):
            connection.transport.abort()


class _Connection(H11Protocol):  # type: ignore[misc, unused-ignore]  # uvicorn may not be installed
    """A connection, which is closed when it sends no request.

    Args:
        count: called when it is there, and when it has gone.
        settings: uvicorn's.
    """

    def __init__(self, count: Callable[[], None], **settings: Any) -> None:
        super().__init__(**settings)
        self._count = count

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._count()
        self._silent = self.loop.call_later(HEAD_SECONDS, transport.abort)

    def handle_events(self) -> None:
        super().handle_events()
        if self.cycle is not None:
            self._silent.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        self._silent.cancel()
        super().connection_lost(exc)
        self._count()


def _is_fault(record: logging.LogRecord) -> bool:
    """False for answers that were cut off on purpose, for which uvicorn logs a traceback."""
    return not (record.exc_info and isinstance(record.exc_info[1], CutOffError))


def _name_of(connection: Any) -> str:
    return name_of({"client": connection.client})


def _tls_context(files: TlsFiles) -> ssl.SSLContext:
    """A context that takes the certificates anew for each connection, so that they follow their files."""
    watched = WatchedFiles(files.paths, partial(_read_context, files))

    def choose(connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        connection.context = watched.current()

    context = _read_context(files)
    context.sni_callback = choose
    return context


def _read_context(files: TlsFiles) -> ssl.SSLContext:
    read_certificates(files)  # whose errors are sentences
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(files.cert, files.key, "")
    if files.client_ca is not None:
        context.load_verify_locations(files.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _bind(host: str, port: int, *, shares_port: bool) -> list[socket.socket]:
    """Binds a socket for each address of a host, all to one port. An address that isn't there is skipped.

    Raises:
        StartupError: another program has the port, or none of the addresses is this machine's.
    """
    with ExitStack() as undo:
        bound: list[socket.socket] = []
        number = port
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for index, (family, _, _, _, (name, _, *rest)) in enumerate(found, 1):
                try:
                    made = socket.create_server((name, number, *rest), family=family, reuse_port=shares_port)
                except OSError as error:
                    if error.errno != errno.EADDRNOTAVAIL or (index == len(found) and not bound):
                        raise
                    continue
                undo.enter_context(made)
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # for its connections: asyncio misses these
                bound.append(made)
                number = made.getsockname()[1]
        except OSError as error:
            raise cannot_listen(host, port, HTTP_FLAGS, error) from error
        undo.pop_all()
        return bound
