"""A server inside this process, with a client of it: for notebooks, scripts and tests that want no second process.

The service runs on an event loop of its own thread. The client reaches it over a loopback port that takes a token which
nobody else has. This is the one module of the server that knows the client.
"""

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack, contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from vitrine.client import Client
from vitrine.server.frontends.grpc.config import GrpcConfig
from vitrine.server.frontends.grpc.server import GrpcFrontend
from vitrine.server.opening import open_service
from vitrine.server.protocols.services import METHODS
from vitrine.server.security.access import Permission
from vitrine.server.security.issuing import add_line, make_token
from vitrine.server.service_config import ServiceConfig

DRAIN_SECONDS = 2.0
"""Seconds that calls of other threads may take to finish at the end."""


@contextmanager
def embedded(model: str | PathLike[str] | None = None, **arguments: Any) -> Iterator[Client]:
    """A client of a model that is served in this process, with every permission; both are closed at the end.

    Several may be open at once. A process that is made by `fork` meanwhile must not use the client.

    Args:
        model: the artifact, made by vitrine-train; None: the bundled model.
        arguments: arguments of `Client` beside target, tls and token, such as `timeout`.

    Raises:
        StartupError: the artifact fails a check.
    """
    with tempfile.TemporaryDirectory(prefix="vitrine-embedded-") as folder:
        token, line = make_token("embedded", Permission)
        tokens = Path(folder, "tokens")
        add_line(tokens, line)
        config = ServiceConfig(model=None if model is None else Path(model), tokens=tokens)
        with _serving(config) as target, Client(target, tls=False, token=token, **arguments) as client:
            yield client


@contextmanager
def _serving(config: ServiceConfig) -> Iterator[str]:
    """Serves in a thread; yields HOST:PORT."""
    stop: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    address: Future[str] = Future()
    thread = threading.Thread(target=_run, args=(config, address, stop), name="vitrine-embedded", daemon=True)
    thread.start()
    try:
        yield address.result()
    finally:
        if not address.exception():
            loop, stopping = stop.result()
            loop.call_soon_threadsafe(stopping.set)
        thread.join()


def _run(
    config: ServiceConfig,
    address: "Future[str]",
    stop: "Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]",
) -> None:
    try:
        asyncio.run(_serve(config, address, stop))
    except BaseException as error:
        if address.done():
            raise
        address.set_exception(error)


async def _serve(
    config: ServiceConfig,
    address: "Future[str]",
    stop: "Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]",
) -> None:
    stopping = asyncio.Event()
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(open_service(config, METHODS))
        frontend = GrpcFrontend(service, GrpcConfig(port=0))
        await frontend.start()
        service.readiness.start()
        stop.set_result((asyncio.get_running_loop(), stopping))
        address.set_result(frontend.address)
        await stopping.wait()
        service.readiness.leave()
        await frontend.drain(DRAIN_SECONDS)
