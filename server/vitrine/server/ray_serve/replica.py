"""A replica: a service, and a method for each method of its protocols, which Ray's gRPC proxy calls by name.

The proxy receives and parses messages, and sends answers. So its limits of messages and connections hold, not ours.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, closing
from functools import partial
from typing import Any, NamedTuple

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from ray.serve.grpc_util import RayServegRPCContext, gRPCInputStream

from vitrine.server.frontends.grpc.sockets import host_of
from vitrine.server.inference.call import HANDLED, Call, Outcome, Stage
from vitrine.server.inference.service import Service
from vitrine.server.observers import safe_observers
from vitrine.server.opening import open_service
from vitrine.server.protocols.endpoint import Answer, Endpoint
from vitrine.server.protocols.health import SERVICE as HEALTH
from vitrine.server.protocols.metadata import NO_RETRY, bounded, request_id_of, trace_of, with_request_id
from vitrine.server.protocols.oip.servicer import SERVICE as OIP
from vitrine.server.protocols.services import METHODS, endpoints_of
from vitrine.server.protocols.status import failed
from vitrine.server.protocols.v1.servicer import SERVICE as V1
from vitrine.server.security.access import ANYONE, Permission
from vitrine.server.service_config import ServiceConfig
from vitrine.server.threads import off_loop

CODES = {code.value[0]: code for code in grpc.StatusCode}
"""gRPC's status codes by their numbers."""


class Method(NamedTuple):
    """A method that can be called."""

    answer: Answer
    """Makes answers."""
    permission: Permission | None
    """The permission that it takes; None: it is open to all."""


class Replica:
    """Answers with a service of its own."""

    async def __init__(self, config: ServiceConfig) -> None:  # type: ignore[misc]  # Ray awaits it
        self._resources = AsyncExitStack()
        self._service = await self._resources.enter_async_context(open_service(config, METHODS))
        self._methods = _methods_of(self._service)
        meters = safe_observers(self._service.meters)
        observers = [*safe_observers(self._service.observers), *meters]
        self._observers = {False: observers, True: meters}  # True: open to all
        self._service.readiness.start()

    async def __del__(self) -> None:  # Ray awaits it, when no call is under way any more
        await self._resources.aclose()

    def check_health(self) -> None:
        """Called by Ray.

        Raises:
            RuntimeError: the replica doesn't serve, and is to be replaced.
        """
        if not self._service.readiness.ready:
            raise RuntimeError("the service isn't ready")

    async def _answer_one(self, method: MethodDescriptor, request: Message, context: RayServegRPCContext) -> Message:
        """Answers a call of one message. A failure is told by the context: its message is never read."""
        with closing(self._call(method, context)) as call:
            try:
                answer: Message = await self._answer(method, request, call, context)
            except Exception as error:
                _fail(call, error, context)
                return GetMessageClass(method.output_type)()
            call.answered()
            return answer

    async def _answer_often(
        self, method: MethodDescriptor, request: Message, context: RayServegRPCContext
    ) -> AsyncIterator[Message]:
        """Answers a call whose answers are a stream."""
        with closing(self._call(method, context)) as call:
            try:
                self._admit(method, call, context)
                async for answer in self._methods[_path(method)].answer(request, call):
                    yield answer
            except Exception as error:
                _fail(call, error, context)
                return
            call.answered()

    async def _answer_stream(
        self, method: MethodDescriptor, requests: "gRPCInputStream[Message]", context: RayServegRPCContext
    ) -> AsyncIterator[Message]:
        """Answers a stream of requests, each of which is a call."""
        async for request in requests:
            with closing(self._call(method, context)) as call:
                try:
                    answer: Message = await self._answer(method, request, call, context)
                except Exception as error:
                    _fail(call, error, context)
                    return
                yield answer
                call.answered()

    async def _answer(self, method: MethodDescriptor, request: Message, call: Call, context: Any) -> Any:
        self._admit(method, call, context)
        call.size = request.ByteSize()
        answer = await self._methods[_path(method)].answer(request, call)
        if isinstance(answer, Message):
            return answer
        begin = time.monotonic()
        message = await off_loop(call.answer_bytes, answer.message)
        call.passed(Stage.ENCODE, begin, time.monotonic())
        return message

    def _call(self, method: MethodDescriptor, context: RayServegRPCContext) -> Call:
        """A call, which this task's log lines are about from now on."""
        metadata = context.invocation_metadata()
        observers = self._observers[self._methods[_path(method)].permission is None]
        address = partial(host_of, context.peer())
        call = Call(_path(method), address=address, observers=observers, trace=trace_of(metadata))
        if given := request_id_of(metadata):
            call.request_id = given
        HANDLED.set((call,))
        return call

    def _admit(self, method: MethodDescriptor, call: Call, context: RayServegRPCContext) -> None:
        """Identifies the caller, and checks its permission."""
        metadata = bounded(context.invocation_metadata())
        permission, access = self._methods[_path(method)].permission, self._service.access
        if permission is None or not access.takes_tokens:
            call.caller = ANYONE
        else:
            call.caller = access.caller([str(value) for name, value in metadata if name == "authorization"])
        if permission is not None:
            call.caller.require(permission)


def _add_methods() -> None:
    """Gives the class a method for each of the protocols': Ray looks them up by name."""
    for service in (V1, OIP, HEALTH):
        for method in service.methods:
            setattr(Replica, method.name, _method_for(method))


def _method_for(method: MethodDescriptor) -> Callable[..., Any]:
    if method.client_streaming:

        async def answer_stream(self: Replica, request: Any, grpc_context: RayServegRPCContext) -> Any:
            async for answer in self._answer_stream(method, request, grpc_context):
                yield answer

        return answer_stream
    if method.server_streaming:

        async def answer_often(self: Replica, request: Any, grpc_context: RayServegRPCContext) -> Any:
            async for answer in self._answer_often(method, request, grpc_context):
                yield answer

        return answer_often

    async def answer_one(self: Replica, request: Any, grpc_context: RayServegRPCContext) -> Any:
        return await self._answer_one(method, request, grpc_context)

    return answer_one


def _path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def _methods_of(service: Service) -> Mapping[str, Method]:
    endpoints = endpoints_of(service, reflection=False)  # Ray's proxy has its own
    return {
        endpoint.path(name): Method(answer, _permission(endpoint, name))
        for endpoint in endpoints
        for name, answer in endpoint.methods.items()
    }


def _permission(endpoint: Endpoint, name: str) -> Permission | None:
    return None if endpoint.public else endpoint.permissions.get(name, Permission.PREDICT)


def _fail(call: Call, error: Exception, context: RayServegRPCContext) -> None:
    status = failed(call, error)
    context.set_code(CODES[status.code])
    context.set_details(status.message)
    details = ("grpc-status-details-bin", status.SerializeToString())
    further = (NO_RETRY,) if call.outcome is Outcome.INTERNAL else ()
    context.set_trailing_metadata([*with_request_id([details], call.request_id), *further])


_add_methods()
