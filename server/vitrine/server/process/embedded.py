"""The server inside Envoy: opens the service when Envoy starts, and ends the process when it has drained.

Envoy, which a worker has become (`envoy.py`), loads `server` and runs it on an event loop of its own thread.
"""

import asyncio
import logging
import os
import pickle
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from multiprocessing.connection import Connection

from vitrine.server.errors import StartupError
from vitrine.server.frontends.asgi.application import Application
from vitrine.server.frontends.asgi.envoy import EnvoyFrontend
from vitrine.server.frontends.asgi.events import Event, Receive, Scope, Send
from vitrine.server.opening import open_service
from vitrine.server.process.draining import drain
from vitrine.server.process.envoy import HANDOVER, INSIDE, Handover
from vitrine.server.process.garbage import collect_seldom
from vitrine.server.process.line import Line, Report, limit_end, report
from vitrine.server.process.parent import resume_without_parent
from vitrine.server.process.signals import leave
from vitrine.server.process.starting import open_unless_stopped
from vitrine.server.protocols.services import METHODS

logger = logging.getLogger(__name__)


class EmbeddedServer:
    """The ASGI application that Envoy's module calls, for the life of the process and for each request."""

    _asgi_single_callable = True  # `__call__` is no coroutine function, and gives coroutines

    def __init__(self) -> None:
        self._application: Application | None = None
        self._ended: asyncio.Future[Event] | None = None  # Envoy's word that it ends

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answers a request, or lives as long as the process."""
        if self._application is None:
            return self._live(receive, send)
        return self._application(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Serves until the supervisor hangs up; any failure ends the process, of which the supervisor is told."""
        resume_without_parent()
        handover, line = _received()
        os.chdir(handover.folder)
        sys.path[:] = [entry for entry in sys.path if entry != "."]
        sys.executable = handover.python
        handover.initializer()
        limit_end(line.fileno(), handover.config.process.stop_seconds)
        try:
            await receive()
            await self._serve(handover, Line(line), receive, send)
            handover.files.remove()
        except StartupError as error:
            report(line, error)
            leave(1)
        except Exception:
            logger.exception("the server failed")
            leave(1)
        leave()

    async def _serve(self, handover: Handover, line: Line, receive: Receive, send: Send) -> None:
        config, loop = handover.config, asyncio.get_running_loop()
        _on_signal(partial(loop.call_soon_threadsafe, line.stopping.set))
        async with AsyncExitStack() as stack:
            opening = open_service(config.own_service, METHODS, reread=line.reread)
            service = await open_unless_stopped(stack, opening, line.stopping)
            if service is None:
                return
            collect_seldom()
            frontend = EnvoyFrontend(service, config.grpc, handover.files, config.http_port)
            self._application = frontend.application
            await send({"type": "lifespan.startup.complete"})
            await self._start(frontend, receive)
            service.readiness.observe(line.tell_ready)
            service.readiness.start()
            await line.stopping.wait()
            seconds_left = await drain([frontend], service, config.process)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, seconds_left)):
                    await stack.aclose()
        logger.info("stopped")

    async def _start(self, frontend: EnvoyFrontend, receive: Receive) -> None:
        """Waits until Envoy listens. One that can't ends, and waits meanwhile for the application's end.

        Raises:
            StartupError: it can't.
        """
        starting, self._ended = asyncio.ensure_future(frontend.start()), asyncio.ensure_future(receive())
        await asyncio.wait({starting, self._ended}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            raise StartupError("Envoy can't listen: the log has its reason")
        await starting


def _on_signal(stop: Callable[[], object]) -> None:
    """Calls `stop` at the first SIGTERM; further ones change nothing.

    The signal is blocked in all threads, or it would end Envoy at once. One thread waits for it.
    """

    def wait() -> None:
        signal.sigwait({signal.SIGTERM})
        stop()

    threading.Thread(target=wait, name="signals", daemon=True).start()


def _received() -> tuple[Handover, "Connection[Report, bytes]"]:
    """What the worker has left for the Envoy that it has become.

    The variables that were for the Python inside are taken away: programs that are started here have their own.
    """
    for name in INSIDE:
        os.environ.pop(name, None)
    handed, line = map(int, os.environ.pop(HANDOVER).split(","))
    with os.fdopen(handed, "rb") as file:
        handover: Handover = pickle.load(file)  # noqa: S301 - written by this very process
    os.set_inheritable(line, False)
    return handover, Connection(line)


server = EmbeddedServer()
"""The application that Envoy loads."""
