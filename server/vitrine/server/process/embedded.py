"""The server inside Envoy: opens the service when Envoy starts, and ends the process when it has drained.

Envoy, which a worker has become (`envoy.py`), loads `server` and runs it on an event loop of its own thread.
"""

import asyncio
import gc
import logging
import os
import pickle
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import TypeAlias

from vitrine.server.errors import StartupError
from vitrine.server.frontends.asgi.application import Application
from vitrine.server.frontends.asgi.envoy import EnvoyFrontend
from vitrine.server.frontends.asgi.events import Receive, Scope, Send
from vitrine.server.opening import open_service
from vitrine.server.process.draining import drain
from vitrine.server.process.envoy import HANDOVER, Handover
from vitrine.server.process.signals import leave
from vitrine.server.protocols.services import METHODS

logger = logging.getLogger(__name__)

Report: TypeAlias = str | StartupError

INLINE_SECONDS = 200e-6
"""Seconds that a run may hold up the event loop. Envoy hands over all requests that have arrived together, so that a
shorter run is cheaper there than its way to another thread and back."""


class EmbeddedServer:
    """The ASGI application that Envoy's module calls, for the life of the process and for each request."""

    _asgi_single_callable = True  # `__call__` is no coroutine function, and gives coroutines

    def __init__(self) -> None:
        self._application: Application | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answers a request, or lives as long as the process."""
        if self._application is None:
            return self._live(receive, send)
        return self._application(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Serves until the supervisor hangs up; any failure ends the process, of which the supervisor is told."""
        handover, line = _received()
        os.chdir(handover.folder)
        sys.path[:] = [entry for entry in sys.path if entry != "."]
        handover.initializer()
        try:
            await receive()
            await self._serve(handover, line, send)
        except StartupError as error:
            _report(line, error)
            leave(1)
        except Exception:
            logger.exception("the server failed")
            leave(1)
        leave()

    async def _serve(self, handover: Handover, line: "Connection[Report, None]", send: Send) -> None:
        config, stopping = handover.config, asyncio.Event()
        loop, end = asyncio.get_running_loop(), line.fileno()

        def hang_up() -> None:
            loop.remove_reader(end)
            stopping.set()

        loop.add_reader(end, hang_up)
        _on_signal(partial(loop.call_soon_threadsafe, stopping.set))
        async with AsyncExitStack() as stack:
            batching = replace(config.service.batching, inline_seconds=INLINE_SECONDS)
            settings = replace(config.service, batching=batching)
            service = await stack.enter_async_context(open_service(settings, METHODS))
            gc.freeze()
            frontend = EnvoyFrontend(service, config.grpc, handover.files)
            self._application = frontend.application
            await send({"type": "lifespan.startup.complete"})
            await frontend.start()
            service.readiness.start()
            _report(line, frontend.address)
            await stopping.wait()
            seconds_left = await drain([frontend], service, config.process)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, seconds_left)):
                    await stack.aclose()
        handover.files.remove()
        logger.info("stopped")


def _on_signal(stop: Callable[[], object]) -> None:
    """Calls `stop` at the first SIGTERM; further ones change nothing.

    The signal is blocked in all threads, or it would end Envoy at once. One thread waits for it.
    """

    def wait() -> None:
        signal.sigwait({signal.SIGTERM})
        stop()

    threading.Thread(target=wait, name="signals", daemon=True).start()


def _received() -> tuple[Handover, "Connection[Report, None]"]:
    """What the worker has left for the Envoy that it has become."""
    handed, line = map(int, os.environ.pop(HANDOVER).split(","))
    with os.fdopen(handed, "rb") as file:
        handover: Handover = pickle.load(file)  # noqa: S301 - written by this very process
    os.set_inheritable(line, False)
    return handover, Connection(line)


def _report(line: "Connection[Report, None]", report: Report) -> None:
    with suppress(BrokenPipeError):  # the supervisor is gone, which ends the wait
        line.send(report)


server = EmbeddedServer()
"""The application that Envoy loads."""
