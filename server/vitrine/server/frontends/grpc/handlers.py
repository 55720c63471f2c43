"""Registers a protocol's methods: each request becomes a `Call`, and every failure leaves as a proper status.

Messages are decoded in here rather than by gRPC, which would answer bytes that are no message with UNKNOWN and the
text of a Python exception.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import unquote

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from vitrine.server.errors import InvalidRequest, RequestError
from vitrine.server.frontends.grpc.aborting import abort, when_over
from vitrine.server.frontends.grpc.field_count import SMALL_BYTES, UncountableError, has_more_fields
from vitrine.server.frontends.grpc.gate import ADMITTED
from vitrine.server.frontends.grpc.metadata import Metadata, request_id_of, trace_of
from vitrine.server.frontends.grpc.status import internal_status, status_of
from vitrine.server.inference.call import HANDLED, OUTCOMES, Call, Outcome, Stage
from vitrine.server.protocols.endpoint import Answer, Endpoint
from vitrine.server.security.access import ANYONE, Caller
from vitrine.server.threads import off_loop

logger = logging.getLogger(__name__)

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

Identify: TypeAlias = Callable[[Metadata | None], Caller]
"""Identifies a caller by its metadata; raises `Unauthenticated` when it can't."""


def anyone(_: Metadata | None) -> Caller:
    """The caller of a service that is open to all."""
    return ANYONE


def guarded_handlers(
    endpoint: Endpoint, identify: Identify, observers: Sequence[Callable[[Call], None]] = ()
) -> grpc.GenericRpcHandler:
    """Handlers for all methods of a service.

    Args:
        endpoint: the service.
        identify: identifies callers; not asked where the service is public, or a gate has done so.
        observers: told of every call when it is over, except those that were refused at the gate.
    """
    handlers = {}
    for descriptor in endpoint.descriptor.methods:
        method = _Method(
            path=endpoint.path(descriptor.name),
            answer=endpoint.methods[descriptor.name],
            decode=message_decoder(GetMessageClass(descriptor.input_type), endpoint.max_fields, endpoint.packed_bytes),
            identify=anyone if endpoint.public else identify,
            observers=observers,
        )
        handlers[descriptor.name] = method.handler(descriptor)
    return grpc.method_handlers_generic_handler(endpoint.name, handlers)


def message_decoder(
    message_class: type[Message], max_fields: Callable[[], int], packed_bytes: int = 1
) -> Callable[[bytes], Message]:
    """A decoder of messages; it raises `InvalidRequest` for bytes that are none, or have too many fields."""
    descriptor: Any = message_class.DESCRIPTOR  # of a type whose stubs know two

    def parse(data: bytes) -> Message:
        if len(data) > SMALL_BYTES and has_more_fields(data, descriptor, limit := max_fields(), packed_bytes):
            raise InvalidRequest("TOO_MANY_FIELDS", f"the request has more than {limit:,} fields: split it")
        return message_class.FromString(data)

    def decode(data: bytes) -> Message:
        try:
            return parse(data)
        except (DecodeError, UncountableError) as error:
            name = message_class.DESCRIPTOR.full_name
            raise InvalidRequest("NOT_A_MESSAGE", f"the request's bytes are no {name}") from error

    return decode


@dataclass(frozen=True, slots=True)
class _Method:
    """A method of a service. Its messages are encoded in here too: an answer counts until it has left."""

    path: str
    answer: Answer
    decode: Callable[[bytes], Message]
    identify: Identify
    observers: Sequence[Callable[[Call], None]]

    def handler(self, descriptor: MethodDescriptor) -> "grpc.RpcMethodHandler[Any, Any]":
        """The handler that gRPC calls."""
        if descriptor.client_streaming:
            return grpc.stream_stream_rpc_method_handler(self._answer_stream)
        if descriptor.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._answer_often)
        return grpc.unary_unary_rpc_method_handler(self._answer_one)

    async def _answer_one(self, data: bytes, context: Context) -> bytes:
        metadata = context.invocation_metadata() or ()
        call = self._call(metadata)
        when_over(call.close)
        try:
            answer = await self._answer(data, call, ADMITTED.get() or self.identify(metadata), context)
        except Exception as error:
            await abort(context, _failure(call, error), call.request_id)
        _succeed(call)
        return answer

    async def _answer_often(self, data: bytes, context: Context) -> AsyncIterator[bytes]:
        with closing(self._call(context.invocation_metadata() or ())) as call:
            try:
                async for message in self.answer(self.decode(data), call):
                    yield await _encoded(message, call)
            except Exception as error:
                await abort(context, _failure(call, error), call.request_id)
            _succeed(call)

    async def _answer_stream(self, _: AsyncIterator[bytes], context: Context) -> None:
        """Reads and writes itself: an iterator that gRPC were given would keep the last message while the stream idles.

        Each message's caller is identified anew: a stream can outlive a token.
        """
        metadata = context.invocation_metadata() or ()
        while (data := await context.read()) is not grpc.aio.EOF:
            with closing(self._call(metadata)) as call:
                try:
                    await context.write(await self._answer(data, call, self.identify(metadata), context))
                except Exception as error:
                    await abort(context, _failure(call, error), call.request_id)
                _succeed(call)
            del data

    async def _answer(self, data: bytes, call: Call, caller: Caller, context: Context) -> bytes:
        call.size = len(data)
        call.caller = caller
        call.address = partial(_host_of, context)
        return await _encoded(await self.answer(self.decode(data), call), call)

    def _call(self, metadata: Metadata) -> Call:
        """A call, which this task's log lines are about from now on: gRPC has a task for each stream."""
        call = Call(self.path, observers=self.observers, trace=trace_of(metadata))
        call.request_id = request_id_of(metadata)
        HANDLED.set((call,))
        return call


def _host_of(context: Context) -> str:
    """The caller's host, out of `ipv4:192.0.2.1:4711` or `ipv6:%5B2001:db8::1%5D:4711`."""
    return unquote(context.peer()).partition(":")[2].rpartition(":")[0]


async def _encoded(message: Message, call: Call) -> bytes:
    begin = time.monotonic()
    data = await off_loop(call.answer_bytes, message.SerializeToString)
    call.passed(Stage.ENCODE, begin, time.monotonic())
    return data


def _succeed(call: Call) -> None:
    """Ends a call that was answered; one that was answered with an error in a message has its outcome already."""
    call.finish(Outcome.OK if call.outcome is Outcome.CANCELLED else call.outcome)


def _failure(call: Call, error: Exception) -> grpc.Status:
    """Ends a call that has failed; gives the status for its caller. An internal error is logged, and not shown.

    Raises:
        asyncio.CancelledError: the caller has gone.
    """
    if isinstance(error, RequestError):
        call.reason = error.reason
        call.finish(OUTCOMES[type(error)])
        return status_of(error)
    if isinstance(error, grpc.aio.InternalError):  # gRPC can't send an answer, because nobody is there any more
        raise asyncio.CancelledError from None
    logger.error("request %s failed inside the server", call.request_id, exc_info=error)
    call.finish(Outcome.INTERNAL)
    return internal_status(call.request_id)
