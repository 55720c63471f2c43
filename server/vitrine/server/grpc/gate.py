"""Lets a call in, or ends it before its request is even received. Who may do what is decided in `access`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, TypeAlias

import grpc
import grpc.aio

from vitrine.server.access import Access, Caller, Permission
from vitrine.server.errors import RequestError
from vitrine.server.grpc.status import status_of

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
"""What answers a call; None: there is no such method."""


class Gate(grpc.aio.ServerInterceptor):
    """Stands before every call.

    Args:
        access: tells who calls.
        open_services: the full names of the services that anyone may call.
        needed: the permission that a method takes, by `/SERVICE/METHOD`; the others take `predict`.
    """

    def __init__(self, access: Access, open_services: Collection[str], needed: Mapping[str, Permission]) -> None:
        self._access = access
        self._open_services = open_services
        self._needed = needed

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Passes the call on, or gives a handler that refuses it."""
        method = handler_call_details.method
        try:
            if method.strip("/").rpartition("/")[0] not in self._open_services:
                caller = caller_of(self._access, handler_call_details.invocation_metadata)
                caller.require(self._needed.get(method, Permission.PREDICT))
        except RequestError as error:
            return _refusal(status_of(error))
        return await continuation(handler_call_details)


def caller_of(access: Access, metadata: Iterable[tuple[str, str | bytes]] | None) -> Caller:
    """Whoever sent the metadata.

    Raises:
        Unauthenticated: there is no token in it, or none that is known.
    """
    return access.caller([str(value) for key, value in metadata or () if key == "authorization"])


def _refusal(status: grpc.Status) -> Handler:
    """Refuses any call: a handler of streams receives nothing unless it asks, where the others wait for a message."""

    async def refuse(_: AsyncIterator[bytes], context: "grpc.aio.ServicerContext[Any, Any]") -> AsyncIterator[bytes]:
        await context.abort(status.code, status.details, status.trailing_metadata)
        yield b""  # never: abort raises; it makes this a stream

    return grpc.stream_stream_rpc_method_handler(refuse)
