"""Registers a protocol's methods: each request becomes a `Call`, and every failure leaves as a proper status.

Messages are decoded in here rather than by gRPC, which would answer bytes that are no message with UNKNOWN and the
text of a Python exception.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from vitrine.server.errors import InvalidRequest, RequestError
from vitrine.server.frontends.grpc.aborting import abort
from vitrine.server.frontends.grpc.gate import ADMITTED
from vitrine.server.frontends.grpc.receiving import Context, Receiver
from vitrine.server.frontends.grpc.status import to_grpc
from vitrine.server.inference.call import HANDLED, Call, Stage
from vitrine.server.inference.connections import Connections
from vitrine.server.protocols.compression import compression_of, largest_unpacked, unpacked
from vitrine.server.protocols.decoding import decoder_of
from vitrine.server.protocols.endpoint import Answer, Decode, Endpoint, WrittenAnswer
from vitrine.server.protocols.metadata import Metadata, bounded, request_id_of, trace_of
from vitrine.server.protocols.status import failed
from vitrine.server.security.access import ANYONE, Caller
from vitrine.server.threads import LARGE_BYTES, off_loop

UNDECODED = ("NOT_A_MESSAGE", "TOO_MANY_FIELDS")
"""The reasons that compressed bytes are refused for, as if they were a message."""

NONE: Metadata = ()
"""The metadata of a call whose own is too large."""

Identify: TypeAlias = Callable[[Metadata | None], Caller]
"""Identifies a caller by its metadata; raises `Unauthenticated` when it can't."""


def anyone(_: Metadata | None) -> Caller:
    """The caller of a service that is open to all."""
    return ANYONE


def guarded_handlers(
    endpoint: Endpoint,
    identify: Identify,
    connections: Connections,
    max_message_bytes: int,
    observers: Sequence[Callable[[Call], None]] = (),
) -> "dict[str, grpc.RpcMethodHandler[Any, Any]]":
    """Handlers for all methods of a service, by their paths.

    Args:
        endpoint: the service.
        identify: identifies callers; not asked where the service is public, or a gate has done so.
        connections: the account of what connections hold.
        max_message_bytes: the largest message of any method.
        observers: told of every call when it is over, except those that were refused at the gate.
    """
    handlers = {}
    for descriptor in endpoint.descriptor.methods:
        method = _Method(
            path=endpoint.path(descriptor.name),
            answer=endpoint.methods[descriptor.name],
            decode=decoder_of(endpoint, descriptor),
            identify=anyone if endpoint.public else identify,
            observers=observers,
            connections=connections,
            limit=endpoint.message_limit(descriptor.name, max_message_bytes),
            public=endpoint.public,
        )
        handlers[method.path] = method.handler(descriptor)
    return handlers


@dataclass(frozen=True, slots=True)
class _Method:
    """A method of a service. Its messages are encoded in here too: an answer counts until it has left."""

    path: str
    answer: Answer
    decode: Decode
    identify: Identify
    observers: Sequence[Callable[[Call], None]]
    connections: Connections
    limit: int
    public: bool

    def handler(self, descriptor: MethodDescriptor) -> "grpc.RpcMethodHandler[Any, Any]":
        """The handler that gRPC calls: always that of a stream of requests, so that it asks for them itself."""
        if descriptor.client_streaming:
            return grpc.stream_stream_rpc_method_handler(self._answer_stream)
        if descriptor.server_streaming:
            return grpc.stream_stream_rpc_method_handler(self._answer_often)
        return grpc.stream_unary_rpc_method_handler(self._answer_one)

    async def _answer_one(self, _: AsyncIterator[bytes], context: Context) -> bytes:
        caller, metadata = ADMITTED.get(), NONE
        receiver = self._receiver(context, caller)
        call = None
        try:
            metadata = bounded(context.invocation_metadata())
            data = await receiver.message()
            if data is None:
                raise InvalidRequest("NO_MESSAGE", "the request has no message")
            call = receiver.call = self._call(metadata)
            answer = await self._answer(data, call, caller or self.identify(metadata), receiver)
        except Exception as error:
            call = call or self._unread(receiver, metadata)
            await abort(context, _failure(call, error), call.request_id)
        call.answered()
        receiver.leaving(len(answer))
        return answer

    async def _answer_often(self, _: AsyncIterator[bytes], context: Context) -> None:
        receiver = self._receiver(context, ADMITTED.get())
        call = None
        try:
            call = self._unread(receiver, bounded(context.invocation_metadata()))
            with self._open_stream(receiver):
                data = await receiver.message()
                if data is None:
                    raise InvalidRequest("NO_MESSAGE", "the request has no message")
                async for message in self.answer(await self._decoded(data, call), call):
                    await _write(context, receiver, await _encoded(message, call))
        except Exception as error:
            call = call or self._unread(receiver, NONE)
            await abort(context, _failure(call, error), call.request_id)
        call.answered()

    async def _answer_stream(self, _: AsyncIterator[bytes], context: Context) -> None:
        """Reads and writes itself: an iterator that gRPC were given would keep the last message while the stream idles.

        Each message's caller is identified anew: a stream can outlive a token.
        """
        metadata, receiver = NONE, self._receiver(context, ADMITTED.get())
        try:
            metadata = bounded(context.invocation_metadata())
            with self._open_stream(receiver):
                while (data := await receiver.message(streamed=True)) is not None:
                    await self._answer_next(data, metadata, context, receiver)
                    del data
        except RequestError as error:
            call = self._unread(receiver, metadata)
            await abort(context, _failure(call, error), call.request_id)

    async def _answer_next(self, data: bytes, metadata: Metadata, context: Context, receiver: Receiver) -> None:
        """Answers one message of a stream."""
        with closing(self._call(metadata)) as call:
            try:
                answer = await self._answer(data, call, self.identify(metadata), receiver)
                await _write(context, receiver, answer)
            except Exception as error:
                await abort(context, _failure(call, error), call.request_id)
            call.answered()

    def _receiver(self, context: Context, caller: Caller | None) -> Receiver:
        return Receiver(self.connections, context, self.limit, known=caller is not None and caller is not ANYONE)

    def _open_stream(self, receiver: Receiver) -> AbstractContextManager[None]:
        caller = ADMITTED.get() or ANYONE
        token = "" if caller is ANYONE else caller.name
        return self.connections.open_stream(receiver.connection, public=self.public, token=token)

    def _unread(self, receiver: Receiver, metadata: Metadata) -> Call:
        """A call whose message hasn't come."""
        receiver.call = self._call(metadata)
        return receiver.call

    async def _answer(self, data: bytes, call: Call, caller: Caller, receiver: Receiver) -> bytes:
        call.size = len(data)
        call.caller = caller
        call.address = partial(str, receiver.connection.host)
        return await _encoded(await self.answer(await self._decoded(data, call), call), call)

    async def _decoded(self, data: bytes, call: Call) -> Any:
        """Decodes a message. gRPC's core unpacks none: 64 KB would become 64 MiB before they are counted.

        How a message is compressed is in a header that core keeps to itself, so it is told from the first bytes.
        """
        try:
            return self.decode(data)
        except InvalidRequest as error:
            if error.reason not in UNDECODED or (encoding := compression_of(data)) is None:
                raise
        message = await off_loop(largest_unpacked(len(data), self.limit), partial(unpacked, data, encoding, self.limit))
        call.size = len(message)
        return self.decode(message)

    def _call(self, metadata: Metadata) -> Call:
        """A call, which this task's log lines are about from now on: gRPC has a task for each stream."""
        call = Call(self.path, observers=self.observers, trace=trace_of(metadata))
        call.request_id = request_id_of(metadata)
        HANDLED.set((call,))
        return call


async def _write(context: Context, receiver: Receiver, answer: bytes) -> None:
    """Sends one answer of a stream; how long it takes to leave is bounded."""
    receiver.leaving(len(answer))
    await context.write(answer)
    receiver.left()


async def _encoded(message: Message | WrittenAnswer, call: Call) -> bytes:
    begin = time.monotonic()
    if call.answer_bytes < LARGE_BYTES:
        data = message.SerializeToString()
    else:
        data = await off_loop(call.answer_bytes, message.SerializeToString)
    call.passed(Stage.ENCODE, begin, time.monotonic())
    return data


def _failure(call: Call, error: Exception) -> grpc.Status:
    """Ends a call that has failed; gives the status for its caller.

    Raises:
        asyncio.CancelledError: the caller has gone.
    """
    if isinstance(error, grpc.aio.InternalError):  # gRPC can't send an answer, because nobody is there any more
        raise asyncio.CancelledError from None
    return to_grpc(failed(call, error))
