"""Lets a call in, or ends it before its request is even received. `access` has the permissions.

The service checks permissions again, message by message: this is an early refusal, not the only one.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextvars import ContextVar
from typing import Any, TypeAlias

import grpc
import grpc.aio

from vitrine.server.errors import RequestError, quoted
from vitrine.server.frontends.grpc.aborting import abort
from vitrine.server.frontends.grpc.metadata import Metadata, request_id_of
from vitrine.server.frontends.grpc.status import status_of, to_status
from vitrine.server.inference.call import OUTCOMES, Call, Outcome, handling
from vitrine.server.protocols.endpoint import Endpoint
from vitrine.server.security.access import Access, Caller, Permission

logger = logging.getLogger(__name__)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
"""The handler that answers a call; None: there is no such method."""

ADMITTED: ContextVar[Caller | None] = ContextVar("ADMITTED", default=None)
"""The caller that the gate has let in, for the handler that follows in the same task; None: there is no gate."""


NO_SUCH_METHOD = to_status(grpc.StatusCode.UNIMPLEMENTED, "this server has no such method")
"""The status of a call whose method isn't there."""


class Gate(grpc.aio.ServerInterceptor):
    """Stands before every call.

    Args:
        access: identifies callers.
        endpoints: the services behind it.
        observers: told of every call that ends here. Handlers tell those of the others.
    """

    def __init__(
        self,
        access: Access,
        endpoints: Collection[Endpoint],
        observers: Sequence[Callable[[Call], None]] = (),
    ) -> None:
        self._access = access
        self._public = {endpoint.name for endpoint in endpoints if endpoint.public}
        self._permissions = {
            endpoint.path(method): permission
            for endpoint in endpoints
            for method, permission in endpoint.permissions.items()
        }
        self._observers = observers

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Passes the call on, or gives a handler that refuses it."""
        method = handler_call_details.method
        try:
            if method.strip("/").rpartition("/")[0] not in self._public:
                caller = caller_of(self._access, handler_call_details.invocation_metadata)
                caller.require(self._permissions.get(method, Permission.PREDICT))
                ADMITTED.set(caller)
        except RequestError as error:
            return _refusal(*self._refuse(method, handler_call_details.invocation_metadata or (), error))
        handler = await continuation(handler_call_details)
        if handler is None:
            self._close(Call(method, outcome=Outcome.UNIMPLEMENTED))
        return handler

    def refuse_unknown(self, metadata: Metadata) -> tuple[grpc.Status, str]:
        """The status of a call whose method isn't there, and its request's id. Strangers learn no methods."""
        try:
            caller_of(self._access, metadata).require(Permission.PREDICT)
        except RequestError as error:
            return self._refuse("", metadata, error)
        self._close(Call("", outcome=Outcome.UNIMPLEMENTED))
        return NO_SUCH_METHOD, request_id_of(metadata)

    def _refuse(self, method: str, metadata: Metadata, error: RequestError) -> tuple[grpc.Status, str]:
        """Ends a call; gives the status for its caller, and its request's id."""
        refused = Call(method, outcome=OUTCOMES[type(error)], reason=error.reason)
        refused.request_id = request_id_of(metadata)
        with handling((refused,)):
            logger.debug("refused %s: %s", quoted(method), error)
        self._close(refused)
        return status_of(error), refused.request_id

    def _close(self, call: Call) -> None:
        call.observers = self._observers
        call.close()


def caller_of(access: Access, metadata: Metadata | None) -> Caller:
    """The caller that sent the metadata.

    Raises:
        Unauthenticated: there is no token in it, or none that is known.
    """
    return access.caller([str(value) for key, value in metadata or () if key == "authorization"])


def _refusal(status: grpc.Status, request_id: str) -> Handler:
    """Refuses any call: a handler of streams receives nothing unless it asks, where the others wait for a message."""

    async def refuse(_: AsyncIterator[bytes], context: "grpc.aio.ServicerContext[Any, Any]") -> AsyncIterator[bytes]:
        await abort(context, status, request_id)
        yield b""  # never: abort raises; it makes this a stream

    return grpc.stream_stream_rpc_method_handler(refuse)
