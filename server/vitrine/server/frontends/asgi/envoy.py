"""Envoy as the application's host, seen from inside: this process is Envoy, and its admin interface is on a socket."""

import asyncio
import errno
import json
import logging
from collections.abc import Mapping, Set
from functools import partial
from pathlib import Path
from typing import Any

from vitrine.server.frontends.asgi.application import Application
from vitrine.server.frontends.asgi.envoy_config import STATS, EnvoyFiles
from vitrine.server.frontends.asgi.exchange import FRONT_END, name_of, network_of
from vitrine.server.frontends.grpc import sockets
from vitrine.server.frontends.grpc.config import GrpcConfig
from vitrine.server.frontends.grpc.connection_limit import max_connections
from vitrine.server.frontends.grpc.handshake import usable_certificates
from vitrine.server.inference.connections import SURPLUS
from vitrine.server.inference.service import Service
from vitrine.server.observers import suppress_and_log
from vitrine.server.security.addresses import address_of, is_loopback
from vitrine.server.security.certificates import CertificateInForce, Certificates, TlsFiles
from vitrine.server.security.expiry import ExpiryWarning
from vitrine.server.security.watched_files import WatchedFiles

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.02
"""Seconds between two looks at Envoy while it starts or drains."""

RENEWAL_SECONDS = 1.0
"""Seconds between two looks at the files of the certificates."""

COUNT_SECONDS = 0.5
"""Seconds between two counts of the connections. One that has just come has so long to begin a call."""

PENDING = (f"http.{STATS}.downstream_rq_active", f"http.{STATS}.downstream_cx_tx_bytes_buffered")
"""Envoy's figures of what is under way: requests, and bytes of answers that haven't left."""


class EnvoyFrontend:
    """The listener of the Envoy that this process is. It can answer as soon as Envoy has started.

    Args:
        service: answers; its observers and meters are told of the calls.
        config: the settings.
        files: the files of this worker.
        http_port: the second port that Envoy listens on; None: there is none.
    """

    def __init__(self, service: Service, config: GrpcConfig, files: EnvoyFiles, http_port: int | None = None) -> None:
        local = config.tls is None and is_loopback(config.host)  # a foreign name has no certificate
        self.application = Application(service, reflection=config.reflection, page=config.page, local=local)
        """Answers Envoy's requests."""
        self._config = config
        self._files = files
        self._ports = (config.port,) if http_port is None else (config.port, http_port)
        self._certificate = service.certificate
        self._connections = service.connections
        self._most = max_connections(service.connections.config)
        self._known: Set[str] = frozenset()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def address(self) -> str:
        """HOST:PORT that it listens on."""
        return address_of(self._config.host, self._config.port)

    async def start(self) -> None:
        """Waits until Envoy listens."""
        self.application.start()
        asyncio.get_running_loop().set_exception_handler(log_failed_callback)
        if self._config.tls is not None:
            renewal = _renew_certificates(self._config.tls, self._files, self._certificate)
            self._tasks.append(asyncio.ensure_future(renewal))
        self._tasks.append(asyncio.ensure_future(self._watch_connections()))
        while not await self._is_live():
            await asyncio.sleep(LOOK_SECONDS)
        web = f"{'https' if self._config.tls else 'http'}://{address_of(self._config.host, self._ports[-1])}"
        logger.info("Connect and gRPC-Web are at %s", web)
        if self._config.page:
            logger.info("open the page in a browser: %s/", web)

    async def failed(self) -> str:
        """Waits for ever: Envoy's end is this process's."""
        await asyncio.Event().wait()
        return ""

    async def drain(self, seconds: float) -> None:
        """Takes no new connections, lets calls under way finish for up to `seconds`, then ends the rest.

        Open connections are told to go with their next answer. A call is over for Envoy when its answer has left.
        """
        try:
            await ask(self._files.admin, "POST", "/drain_listeners?graceful")
            await ask(self._files.admin, "POST", "/drain_listeners")
        except OSError as error:
            logger.warning("Envoy can't be told to close its listeners, as its socket can't be used: %s", error)
        begin = asyncio.get_running_loop().time()
        await self.application.drain(seconds)
        left = seconds - (asyncio.get_running_loop().time() - begin)
        try:
            async with asyncio.timeout(max(LOOK_SECONDS, left)):
                while await self._pending():
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            logger.warning("answers are left that their callers haven't read")
        except OSError as error:
            logger.warning("Envoy can't be asked whether all answers have left, as its socket can't be used: %s", error)
        for task in self._tasks:
            task.cancel()

    async def _watch_connections(self) -> None:
        """Counts the connections again and again: Envoy's sockets are this process's."""
        close_surplus = suppress_and_log(self._close_surplus, "Envoy's connections can't be closed for now")
        while True:
            close_surplus(await asyncio.to_thread(sockets.open_sockets, self._ports))
            await asyncio.sleep(COUNT_SECONDS)

    def _close_surplus(self, files: Mapping[str, int]) -> None:
        """Closes some connections when they are too many: idle ones, of hosts that have the most.

        Envoy would refuse new ones instead.
        """
        found = {_renamed(name): (name, file) for name, file in files.items()}
        self._connections.counted(len(found), FRONT_END)
        new, self._known = found.keys() - self._known, found.keys()
        for name in self._connections.surplus(found.keys() - new, self._most - len(new), network_of):
            self._connections.closed[SURPLUS] += sockets.close(*found[name])

    async def _is_live(self) -> bool:
        """Tells whether Envoy listens; it makes its socket while it starts."""
        try:
            return (await ask(self._files.admin, "GET", "/ready")).strip() == "LIVE"
        except OSError:
            return False

    async def _pending(self) -> float:
        """The sum of the figures of what is under way."""
        query = "/stats?format=json&filter=" + "%7C".join(PENDING)
        stats: list[dict[str, Any]] = json.loads(await ask(self._files.admin, "GET", query))["stats"]
        return float(sum(stat.get("value", 0) for stat in stats))


LATE_DELIVERIES = ("pyvoy", "Future.set_")
"""Parts of the names of callbacks by which pyvoy sets the future that `receive` gave, and the one that `send` gave."""


def log_failed_callback(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Logs the failure of a callback, but not that pyvoy delivers an event to a call that no longer waits for it.

    pyvoy sets the futures that `receive` and `send` gave without a look at whether they were cancelled. A call that has
    ended, in the same turn of the event loop or because its answer isn't read, has cancelled them.
    """
    handle = repr(context.get("handle"))
    late = isinstance(context.get("exception"), asyncio.InvalidStateError)
    if not (late and any(name in handle for name in LATE_DELIVERIES)):
        loop.default_exception_handler(context)


def _renamed(name: str) -> str:
    """The application's name for a connection, by the name that gRPC gives it."""
    return name_of({"client": (sockets.host_of(name).strip("[]"), name.rpartition(":")[2])})


async def ask(admin: Path, method: str, path: str) -> str:
    """The body of an answer of Envoy's admin interface.

    Raises:
        OSError: its socket isn't there, as when it has been swept away with other temporary files, or closes it.
    """
    reader, writer = await asyncio.open_unix_connection(admin)
    try:
        writer.write(
            f"{method} {path} HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.read()
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError(errno.ECONNRESET, "it was closed without an answer") from error
    finally:
        writer.close()
        await writer.wait_closed()
    return _unchunked(body).decode() if b"transfer-encoding: chunked" in head.lower() else body.decode()


def _unchunked(body: bytes) -> bytes:
    """The content of a body that is sent in pieces, each after its length."""
    pieces = []
    while body:
        size, _, body = body.partition(b"\r\n")
        pieces.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    return b"".join(pieces)


async def _renew_certificates(tls: TlsFiles, files: EnvoyFiles, in_force: CertificateInForce) -> None:
    """Gives Envoy the certificates anew when their files change; damaged ones are logged, and the old ones stay."""
    watched, warn = WatchedFiles(tls.paths, partial(usable_certificates, tls)), ExpiryWarning(tls)
    written: Certificates | None = None

    def give(latest: Certificates) -> None:
        nonlocal written
        if latest is not written:
            files.write(latest)
            written, in_force.expires = latest, latest.expires

    give_safely = suppress_and_log(give, "Envoy can't be given the renewed certificates for now")
    while True:
        latest = await asyncio.to_thread(watched.current)  # a trial takes some milliseconds
        give_safely(latest)
        warn(latest)
        await asyncio.sleep(RENEWAL_SECONDS)
