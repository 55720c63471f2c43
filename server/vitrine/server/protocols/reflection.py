"""`grpc.reflection.v1alpha`: describes the services to tools such as grpcurl.

grpcio-reflection makes the answers. It is asked one request at a time, so that bad ones are refused as with any other
service: by itself, it would answer bytes that are no message with UNKNOWN and a traceback in the log.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any

from grpc_reflection.v1alpha import reflection, reflection_pb2

from vitrine.server.inference.call import Call
from vitrine.server.protocols.endpoint import NAME_BYTES, Endpoint

messages: Any = reflection_pb2
"""The messages, which have more fields than their type stubs."""

SERVICE: Any = messages.DESCRIPTOR.services_by_name["ServerReflection"]
"""The service's description in its .proto."""


class ReflectionServicer:
    """The service on the wire.

    Args:
        services: the full names of the services that are described.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._described: Any = reflection.aio.ReflectionServicer(tuple(services))

    @property
    def endpoint(self) -> Endpoint:
        """The service, for a front end to register."""
        return Endpoint(SERVICE, {"ServerReflectionInfo": self.ServerReflectionInfo}, public=True, max_bytes=NAME_BYTES)

    async def ServerReflectionInfo(self, request: Any, _: Call) -> Any:  # noqa: N802
        """Answers one request."""
        async with aclosing(self._described.ServerReflectionInfo(_alone(request), None)) as answers:
            return await anext(answers)


async def _alone(request: Any) -> AsyncIterator[Any]:
    yield request
