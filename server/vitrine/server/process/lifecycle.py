"""The life of a server: open the service, start the front ends, serve, drain, close."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any

from vitrine.server.frontends import Frontend
from vitrine.server.frontends.grpc.server import GrpcFrontend
from vitrine.server.inference.service import Service
from vitrine.server.opening import open_service
from vitrine.server.process.config import ServerConfig
from vitrine.server.process.draining import drain
from vitrine.server.process.garbage import collect_seldom
from vitrine.server.process.signals import on_signals
from vitrine.server.process.starting import open_unless_stopped
from vitrine.server.protocols.services import METHODS

logger = logging.getLogger(__name__)


async def serve(
    config: ServerConfig,
    announce: Callable[[str], None],
    stopping: asyncio.Event | None = None,
    tell_ready: Callable[[bool], None] = lambda _: None,
    reread: asyncio.Event | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, then drains. Threads may outlive it, at work on what nobody waits for any more.

    Args:
        config: the settings.
        announce: called once with HOST:PORT, when the server is ready to answer.
        stopping: another way to stop it, by setting the event.
        tell_ready: told of every change of the service's readiness.
        reread: another way than SIGHUP to have the repository looked at, by setting the event.

    Raises:
        StartupError: a model fails a check, its device isn't there, or an address can't be listened on.
    """
    stopping, reread = stopping or asyncio.Event(), reread or asyncio.Event()
    on_signals(stopping, reread.set)  # first: a container's first process ignores signals that it doesn't handle
    async with AsyncExitStack() as stack:
        # 1. Open the service.
        opening = open_service(config.own_service, METHODS, reread=reread)
        service = await open_unless_stopped(stack, opening, stopping)
        if service is None:
            return
        collect_seldom()
        # 2. Serve.
        frontend = GrpcFrontend(service, config.grpc)
        await frontend.start()
        http = await _start_http(service, config)
        service.readiness.observe(tell_ready)
        service.readiness.start()
        announce(frontend.address)
        frontend = await _keep_serving(frontend, service, config, stopping)
        # 3. Drain, and close the service in the time that is left.
        seconds_left = await drain([frontend, *http], service, config.process)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds_left)):  # `wait_for` wouldn't even begin where none is left
                await stack.aclose()
    logger.info("stopped")


async def _start_http(service: Service, config: ServerConfig) -> list[Frontend]:
    """The HTTP front end where one is wanted, which answers."""
    if config.http is None:
        return []
    from vitrine.server.frontends.asgi.http_server import HttpFrontend  # uvicorn, an extra

    frontend = HttpFrontend(service, config.http)
    await frontend.start()
    return [frontend]


async def _keep_serving(
    frontend: GrpcFrontend, service: Service, config: ServerConfig, stopping: asyncio.Event
) -> GrpcFrontend:
    """Replaces the front end when it ends by itself, until the server is told to stop; gives the last one.

    Raises:
        StartupError: the address can't be listened on any more.
    """
    while True:
        failing = asyncio.ensure_future(frontend.failed())
        await _first_of(failing, stopping)
        if stopping.is_set():
            failing.cancel()
            return frontend
        logger.error("gRPC's server ended by itself, by %s, and is started again", failing.result())
        await frontend.drain(0)
        frontend = GrpcFrontend(service, replace(config.grpc, port=frontend.port))
        await frontend.start()


async def _first_of(work: "asyncio.Future[Any]", event: asyncio.Event) -> None:
    """Returns when the work is done or the event is set."""
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
