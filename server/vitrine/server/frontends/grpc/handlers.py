"""Registers a servicer's methods: each request becomes a `Call`, and every failure leaves as a proper status.

Messages are decoded in here rather than by gRPC, which would answer bytes that are no message with UNKNOWN and the
text of a Python exception.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import unquote

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from vitrine.server.errors import InvalidRequest, RequestError
from vitrine.server.frontends.grpc.aborting import abort, when_over
from vitrine.server.frontends.grpc.field_count import UncountableError, has_more_fields
from vitrine.server.frontends.grpc.metadata import Metadata, request_id_of, trace_of
from vitrine.server.frontends.grpc.status import internal_status, status_of
from vitrine.server.inference.call import CANCELLED, HANDLED, Call, Stage
from vitrine.server.security.access import ANYONE, Caller

logger = logging.getLogger(__name__)

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

MOST_FIELDS = 4096
"""How many fields a request may have, where nothing else is said."""

Identify: TypeAlias = Callable[[Metadata | None], Caller]
"""Tells by its metadata who calls; raises `Unauthenticated` when that can't be told."""


def anyone(_: Metadata | None) -> Caller:
    """Whoever calls a service that is open to all."""
    return ANYONE


def guarded_handlers(
    servicer: object,
    service: ServiceDescriptor,
    identify: Identify,
    observers: Sequence[Callable[[Call], None]] = (),
    most_fields: Callable[[], int] = lambda: MOST_FIELDS,
    packed_bytes: int = 1,
) -> grpc.GenericRpcHandler:
    """Handlers for all methods of `service`.

    Args:
        servicer: has a coroutine of each method's name that makes an answer of a request and its `Call`. Where the
            method takes a stream, it is called for each request in turn; where only the answers are a stream, it is an
            asynchronous generator.
        service: what the .proto says of the service.
        identify: tells who calls.
        observers: told of every call when it is over; of those that were refused at the gate, nobody hears here.
        most_fields: how many fields a request may have now, with those of the messages inside it.
        packed_bytes: how many bytes of a list of numbers count as one field.
    """
    handlers = {
        descriptor.name: _Method(
            path=f"/{service.full_name}/{descriptor.name}",
            answer=getattr(servicer, descriptor.name),
            decode=message_decoder(GetMessageClass(descriptor.input_type), most_fields, packed_bytes),
            identify=identify,
            observers=observers,
        ).handler(descriptor)
        for descriptor in service.methods
    }
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def message_decoder(
    message_class: type[Message], most_fields: Callable[[], int], packed_bytes: int = 1
) -> Callable[[bytes], Message]:
    """What turns bytes into a message; it raises `InvalidRequest` where they are none, or have too many fields."""
    descriptor: Any = message_class.DESCRIPTOR  # of a type whose stubs know two

    def parse(data: bytes) -> Message:
        if has_more_fields(data, descriptor, most := most_fields(), packed_bytes):
            raise InvalidRequest("TOO_MANY_FIELDS", f"the request has more than {most:,} fields: split it")
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
    answer: Callable[..., Any]
    decode: Callable[[bytes], Message]
    identify: Identify
    observers: Sequence[Callable[[Call], None]]

    def handler(self, descriptor: MethodDescriptor) -> "grpc.RpcMethodHandler[Any, Any]":
        """What gRPC calls."""
        if descriptor.client_streaming:
            return grpc.stream_stream_rpc_method_handler(self._answer_stream)
        if descriptor.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._answer_often)
        return grpc.unary_unary_rpc_method_handler(self._answer_one)

    async def _answer_one(self, data: bytes, context: Context) -> bytes:
        call = self._call(metadata := context.invocation_metadata() or ())
        when_over(call.close)
        async with _guard(context, call):
            return await self._answer(data, call, metadata, context)
        raise AssertionError("the guard has aborted")  # for the type checker: abort raises

    async def _answer_often(self, data: bytes, context: Context) -> AsyncIterator[bytes]:
        with closing(self._call(context.invocation_metadata() or ())) as call:
            async with _guard(context, call):
                async for message in self.answer(self.decode(data), call):
                    yield _encoded(message, call)

    async def _answer_stream(self, _: AsyncIterator[bytes], context: Context) -> None:
        """Reads and writes itself: what gRPC is given to iterate over keeps the last message while the stream idles."""
        metadata = context.invocation_metadata() or ()
        while (data := await context.read()) is not grpc.aio.EOF:
            with closing(self._call(metadata)) as call:
                async with _guard(context, call, prefix="request."):
                    await context.write(await self._answer(data, call, metadata, context))
            del data

    async def _answer(self, data: bytes, call: Call, metadata: Metadata, context: Context) -> bytes:
        call.size = len(data)
        call.caller = self.identify(metadata)
        call.address = partial(_host_of, context)
        return _encoded(await self.answer(self.decode(data), call), call)

    def _call(self, metadata: Metadata) -> Call:
        """A call, which what is logged in this task from now on is about: gRPC has a task for each stream."""
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


@asynccontextmanager
async def _guard(context: Context, call: Call, prefix: str = "") -> AsyncIterator[None]:
    """Ends the call with the status of what was raised; a fault of ours is logged, and not shown."""
    try:
        yield
        said = call.outcome != CANCELLED  # a method that answers with an error has said so itself
        call.finish(call.outcome if said else grpc.StatusCode.OK.name)
    except RequestError as error:
        call.reason = error.reason
        await _abort(context, call, status_of(error, prefix))
    except grpc.aio.AbortError:
        raise
    except grpc.aio.InternalError:  # what gRPC raises where an answer can't be sent: nobody is there any more
        raise asyncio.CancelledError from None
    except Exception:  # whatever it is, a caller must not see it
        logger.exception("request %s failed inside the server", call.request_id)
        await _abort(context, call, internal_status(call.request_id))


async def _abort(context: Context, call: Call, status: grpc.Status) -> None:
    call.finish(status.code.name)
    await abort(context, status, call.request_id)
