"""Registers a servicer's methods so that nothing escapes them: every failure leaves as a proper status.

Messages are decoded in here rather than by gRPC, which would answer bytes that are no message with UNKNOWN and the
text of a Python exception.
"""

import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from vitrine.server.errors import InvalidRequest, RequestError
from vitrine.server.grpc.counting import has_more_fields
from vitrine.server.grpc.status import internal_status, status_of

logger = logging.getLogger(__name__)

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


MOST_FIELDS = 4096
"""How many fields a request may have, where nothing else is said."""


def guarded_handlers(
    servicer: object, service: ServiceDescriptor, most_fields: int = MOST_FIELDS
) -> grpc.GenericRpcHandler:
    """Handlers for all methods of `service`, which `servicer` has under the same names; none takes a stream alone.

    Args:
        servicer: what answers.
        service: what the .proto says of it.
        most_fields: how many fields a request may have, with those of the messages inside it.
    """
    handlers = {m.name: _handler(getattr(servicer, m.name), m, most_fields) for m in service.methods}
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _handler(
    method: Callable[..., Any], descriptor: MethodDescriptor, most_fields: int
) -> "grpc.RpcMethodHandler[Any, Any]":
    decode = message_decoder(GetMessageClass(descriptor.input_type), most_fields)
    encode = GetMessageClass(descriptor.output_type).SerializeToString
    if descriptor.client_streaming:
        return grpc.stream_stream_rpc_method_handler(_guard_stream(method, decode), response_serializer=encode)
    if descriptor.server_streaming:
        return grpc.unary_stream_rpc_method_handler(_guard_answers(method, decode), response_serializer=encode)
    return grpc.unary_unary_rpc_method_handler(_guard_unary(method, decode), response_serializer=encode)


def message_decoder(message_class: type[Message], most_fields: int) -> Callable[[bytes], Message]:
    """What turns bytes into a message; it raises `InvalidRequest` where they are none, or have too many fields."""
    descriptor: Any = message_class.DESCRIPTOR  # of a type whose stubs know two

    def decode(data: bytes) -> Message:
        if has_more_fields(data, descriptor, most_fields):
            raise InvalidRequest("TOO_MANY_FIELDS", f"the request has more than {most_fields:,} fields: split it")
        try:
            return message_class.FromString(data)
        except DecodeError as error:
            name = message_class.DESCRIPTOR.full_name
            raise InvalidRequest("NOT_A_MESSAGE", f"the request's bytes are no {name}") from error

    return decode


def _guard_unary(
    method: Callable[[Message, Context], Awaitable[Message]], decode: Callable[[bytes], Message]
) -> Callable[[bytes, Context], Awaitable[Message]]:
    async def answer(data: bytes, context: Context) -> Message:
        async with _guard(context):
            return await method(decode(data), context)
        raise AssertionError("the guard has aborted")  # for the type checker: abort raises

    return answer


def _guard_answers(
    method: Callable[[Message, Context], AsyncIterator[Message]], decode: Callable[[bytes], Message]
) -> Callable[[bytes, Context], AsyncIterator[Message]]:
    async def answer(data: bytes, context: Context) -> AsyncIterator[Message]:
        async with _guard(context):
            async for message in method(decode(data), context):
                yield message

    return answer


def _guard_stream(
    method: Callable[[AsyncIterator[Message], Context], AsyncIterator[Message]], decode: Callable[[bytes], Message]
) -> Callable[[AsyncIterator[bytes], Context], AsyncIterator[Message]]:
    async def answer(stream: AsyncIterator[bytes], context: Context) -> AsyncIterator[Message]:
        async with _guard(context, prefix="request."):
            async for message in method((decode(data) async for data in stream), context):
                yield message

    return answer


@asynccontextmanager
async def _guard(context: Context, prefix: str = "") -> AsyncIterator[None]:
    """Ends the call with the status of what was raised; a fault of ours is logged, and not shown."""
    try:
        yield
    except RequestError as error:
        await _abort(context, status_of(error, prefix))
    except grpc.aio.AbortError:
        raise
    except Exception:  # whatever it is, a caller must not see it
        incident = uuid.uuid4().hex[:12]
        logger.exception("incident %s: a request failed inside the server", incident)
        await _abort(context, internal_status(incident))


async def _abort(context: Context, status: grpc.Status) -> None:
    await context.abort(status.code, status.details, status.trailing_metadata)
