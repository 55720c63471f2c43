"""`grpc.reflection.v1` and `v1alpha`: describe the services to tools such as grpcurl.

Both versions have the same messages, in packages of different names; tools ask v1 first. grpcio-reflection knows
v1alpha alone, and makes the answers. It is asked one request at a time, so that bad ones are refused as with any other
service: by itself, it would answer bytes that are no message with UNKNOWN and a traceback in the log.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, suppress
from typing import Any

from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection, reflection_pb2

from vitrine.server.inference.call import Call
from vitrine.server.protocols.endpoint import NAME_BYTES, Endpoint

messages: Any = reflection_pb2
"""The messages, which have more fields than their type stubs."""

POOL: Any = descriptor_pool.Default()
"""The descriptions of everything in this process's .proto files."""


def _describe_v1() -> Any:
    """v1's service: v1alpha's under v1's names, unless a library in this process has brought v1's own."""
    name = "grpc.reflection.v1.ServerReflection"
    with suppress(KeyError):
        return POOL.FindServiceByName(name)
    alpha = FileDescriptorProto.FromString(messages.DESCRIPTOR.serialized_pb)
    text = text_format.MessageToString(alpha).replace("grpc_reflection/", "grpc/reflection/").replace("v1alpha", "v1")
    POOL.Add(text_format.Parse(text, FileDescriptorProto()))
    return POOL.FindServiceByName(name)


V1: Any = _describe_v1()
"""The description of v1's service."""

V1ALPHA: Any = messages.DESCRIPTOR.services_by_name["ServerReflection"]
"""The description of v1alpha's service."""

SERVICES = (V1, V1ALPHA)
"""The descriptions of both services."""

V1_ANSWER = GetMessageClass(V1.methods_by_name["ServerReflectionInfo"].output_type)
"""The class of v1's answers."""


class ReflectionServicer:
    """Both services on the wire.

    Args:
        services: the full names of the services that are described.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._described: Any = reflection.aio.ReflectionServicer(tuple(services))

    @property
    def endpoints(self) -> tuple[Endpoint, Endpoint]:
        """The services, for a front end to register."""
        return (
            Endpoint(V1, {"ServerReflectionInfo": self.answer_v1}, public=True, max_bytes=NAME_BYTES),
            Endpoint(V1ALPHA, {"ServerReflectionInfo": self.answer_v1alpha}, public=True, max_bytes=NAME_BYTES),
        )

    async def answer_v1(self, request: Message, call: Call) -> Message:
        """Answers one request of v1."""
        asked = messages.ServerReflectionRequest.FromString(request.SerializeToString())
        answer = await self.answer_v1alpha(asked, call)
        return V1_ANSWER.FromString(answer.SerializeToString())

    async def answer_v1alpha(self, request: Any, _: Call) -> Any:
        """Answers one request of v1alpha."""
        async with aclosing(self._described.ServerReflectionInfo(_alone(_of_service(request)), None)) as answers:
            answer = await anext(answers)
        answer.original_request.CopyFrom(request)
        return answer


def _of_service(request: Any) -> Any:
    """The same request, with a method's service in its place: grpcio-reflection finds no methods."""
    try:
        method = POOL.FindMethodByName(request.file_containing_symbol)
    except KeyError:
        return request
    return messages.ServerReflectionRequest(file_containing_symbol=method.containing_service.full_name)


async def _alone(request: Any) -> AsyncIterator[Any]:
    yield request
