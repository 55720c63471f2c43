"""Registers a protocol's methods: each request becomes a `Call`, and every failure leaves as a proper status.

Messages are decoded in here rather than by gRPC, which would answer bytes that are no message with UNKNOWN and the
text of a Python exception.
"""

import asyncio
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
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from vitrine.server.frontends.grpc.aborting import abort, when_over
from vitrine.server.frontends.grpc.gate import ADMITTED
from vitrine.server.frontends.grpc.status import to_grpc
from vitrine.server.inference.call import HANDLED, Call, Outcome, Stage
from vitrine.server.protocols.decoding import message_decoder
from vitrine.server.protocols.endpoint import Answer, Endpoint
from vitrine.server.protocols.metadata import Metadata, request_id_of, trace_of
from vitrine.server.protocols.status import failed
from vitrine.server.security.access import ANYONE, Caller

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
                    yield _encoded(message, call)
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
        return _encoded(await self.answer(self.decode(data), call), call)

    def _call(self, metadata: Metadata) -> Call:
        """A call, which this task's log lines are about from now on: gRPC has a task for each stream."""
        call = Call(self.path, observers=self.observers, trace=trace_of(metadata))
        call.request_id = request_id_of(metadata)
        HANDLED.set((call,))
        return call


def _host_of(context: Context) -> str:
    """The caller's host, out of `ipv4:192.0.2.1:4711` or `ipv6:%5B2001:db8::1%5D:4711`."""
    return unquote(context.peer()).partition(":")[2].rpartition(":")[0]


def _encoded(message: Message, call: Call) -> bytes:
    begin = time.monotonic()
    data = message.SerializeToString()
    call.passed(Stage.ENCODE, begin, time.monotonic())
    return data


def _succeed(call: Call) -> None:
    """Ends a call that was answered; one that was answered with an error in a message has its outcome already."""
    call.finish(Outcome.OK if call.outcome is Outcome.CANCELLED else call.outcome)


def _failure(call: Call, error: Exception) -> grpc.Status:
    """Ends a call that has failed; gives the status for its caller.

    Raises:
        asyncio.CancelledError: the caller has gone.
    """
    if isinstance(error, grpc.aio.InternalError):  # gRPC can't send an answer, because nobody is there any more
        raise asyncio.CancelledError from None
    return to_grpc(failed(call, error))
