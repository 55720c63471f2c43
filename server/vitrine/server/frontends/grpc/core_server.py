"""gRPC's server, without two of its faults. It reaches into grpcio's own parts; `is_supported` tells whether they fit.

- A call whose path is no UTF-8 ends grpc.aio's server: it decodes the path of every call in the loop that takes calls
  up, where nothing catches the error. Here all methods are registered with gRPC's core, which compares their paths as
  bytes. What is left over is a call of an unknown method, and is refused without a look at its path.
- Each call took two tasks and a wait for several events to be taken up, one call at a time. Here each method has a loop
  of its own, and a busy one has several, so that calls which arrive together are taken up together, and share a run of
  the model.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import grpc
import grpc.aio
from grpc._cython import cygrpc
from grpc.aio import _server

from vitrine.server.frontends.grpc.aborting import abort
from vitrine.server.protocols.metadata import Metadata

Unknown: TypeAlias = Callable[[Metadata], tuple[grpc.Status, str]]
"""Refuses a call of a method that isn't there."""

CALL_TASK = "rpc_task"
"""The name of a call's task, which grpc.aio's own server gives it too."""

TAKERS = 16
"""Calls of a busy method that can be taken up in one turn of the event loop. With one, each waits a turn of its own."""

TAKES = ("method_name", "method_resolver", "interceptors", "rpc_state", "loop", "concurrency_exceeded")
SCHEDULES = ("rpc_coro", "rpc_state", "loop")
"""The arguments of grpcio's functions that this was written for; the second has one more in later versions."""


def is_supported() -> bool:
    """This version of grpcio has the parts that `CoreServer` is made of."""
    needed = (
        "_request_call",
        "_request_registered_call",
        "_make_request_call_future",
        "add_registered_method_handlers",
    )
    return (
        all(hasattr(cygrpc.AioServer, name) for name in needed)
        and _arguments(cygrpc, "_handle_rpc") == TAKES
        and _arguments(cygrpc, "_schedule_rpc_coro") in (SCHEDULES, (*SCHEDULES, "method_name"))
    )


def _arguments(module: Any, function: str) -> tuple[str, ...]:
    code = getattr(getattr(module, function, None), "__code__", None)
    return tuple(code.co_varnames[: code.co_argcount]) if code else ()


class CoreServer(_server.Server):
    """gRPC's asyncio server with registered methods only.

    Args:
        handlers: the handler of each method, by its path.
        interceptors: asked before each call of a method.
        options: settings of gRPC's core.
        unknown: gives the status for a call of a method that isn't there, by its metadata, and its request's id.
        busy: the paths of the methods that are called most.
    """

    def __init__(
        self,
        handlers: Mapping[str, "grpc.RpcMethodHandler[Any, Any]"],
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        options: Sequence[tuple[str, Any]],
        unknown: Unknown,
        busy: Collection[str],
    ) -> None:
        self._loop = cygrpc.get_working_loop()
        self._server = _RegisteredMethods(self._loop, None, (), (), tuple(options), None)
        self._server.set_up(dict(handlers), tuple(interceptors), unknown, busy)


class _RegisteredMethods(cygrpc.AioServer):  # type: ignore[misc]  # grpcio has no types for its own parts
    """Takes calls up."""

    def set_up(
        self,
        handlers: "dict[str, grpc.RpcMethodHandler[Any, Any]]",
        interceptors: Any,
        unknown: Unknown,
        busy: Collection[str],
    ) -> None:
        self._takers = {path: TAKERS if path in busy else 1 for path in handlers}
        self._handlers, self._interceptors_asked, self._unknown = handlers, interceptors, unknown
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self.add_registered_method_handlers(handlers)

    async def start(self) -> None:
        await super().start()
        for path, takers in self._takers.items():
            for _ in range(takers):
                taking = asyncio.create_task(self._take_calls(path))
                taking.add_done_callback(self._note_end)
                self._keep(taking)

    async def wait_for_termination(self, timeout: float | None) -> bool:
        """Waits until the server was stopped, for `timeout` seconds at most; True: it runs on.

        Raises:
            Exception: calls of a method aren't taken up any more, as `start`'s tasks have noticed.
        """
        if self._failure is not None:
            raise self._failure
        return bool(await super().wait_for_termination(timeout))

    def resolve_handler(self, details: Any) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Called by grpcio, behind the interceptors."""
        return self._handlers.get(details.method)

    def _make_request_call_future(self, method: bytes | None) -> "asyncio.Future[Any]":
        """Called by grpcio's own loop, which is left with calls of unknown methods."""
        loop = asyncio.get_running_loop()
        return loop.create_task(self._request_call()) if method is None else loop.create_future()

    async def _request_call(self) -> Any:
        """Called by grpcio's own loop for the next call; refuses each, until the server stops."""
        while True:
            state = await super()._request_call()
            self._keep(asyncio.create_task(self._refuse(state), name=CALL_TASK))

    async def _refuse(self, state: Any) -> None:
        context = cygrpc._ServicerContext(state, None, None, asyncio.get_running_loop())
        with suppress(grpc.aio.AbortError, cygrpc.ExecuteBatchError):  # the first always comes; the second: it has gone
            await abort(context, *self._unknown(context.invocation_metadata() or ()))

    async def _take_calls(self, path: str) -> None:
        """Takes up calls of a method, one after the other, until the server stops."""
        loop, method = asyncio.get_running_loop(), path.encode()
        named = (path,) if len(_arguments(cygrpc, "_schedule_rpc_coro")) > len(SCHEDULES) else ()
        with suppress(cygrpc._RequestCallError):
            while self.is_running():
                state = await self._request_registered_call(method)
                answering = cygrpc._handle_rpc(path, self, self._interceptors_asked, state, loop, False)
                scheduled = cygrpc._schedule_rpc_coro(answering, state, loop, *named)
                self._keep(loop.create_task(scheduled, name=CALL_TASK))

    def _note_end(self, taking: "asyncio.Task[None]") -> None:
        """Without this, one method would be dead, and health would go on saying SERVING."""
        if not taking.cancelled():
            self._failure = self._failure or taking.exception()

    def _keep(self, task: "asyncio.Task[None]") -> None:
        """Keeps a task from being collected: an event loop has weak references alone."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
