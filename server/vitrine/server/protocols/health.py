"""`grpc.health.v1`: whether the server is alive (`""`) and its services are ready, for whoever asks or watches.

The servicer of grpcio-health-checking isn't used, for two faults of its asyncio `Watch`: it never ends, so that each
watching client holds a draining server for as long as it may drain; and a watcher that goes takes the others'
notifications with it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2

from vitrine.server.errors import NotFound, quoted
from vitrine.server.inference.call import Call

Status = health_pb2.HealthCheckResponse
"""Where the statuses' names are."""

messages: Any = health_pb2
"""The same messages, of which some are newer than their type stubs."""

SERVICE: ServiceDescriptor = messages.DESCRIPTOR.services_by_name["Health"]
"""What the .proto says of the service."""


class HealthServicer:
    """The health of some services. Everything happens on the event loop's thread."""

    def __init__(self) -> None:
        self._status: dict[str, Any] = {}
        self._leaving = False
        self._changed = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether the server takes requests: it has started, and isn't leaving."""
        return bool(self._status.get("") == Status.SERVING)

    def serve(self, services: Iterable[str]) -> None:
        """Says SERVING of these services."""
        self._status |= dict.fromkeys(services, Status.SERVING)
        self._wake_watchers()

    def leave(self) -> None:
        """Says NOT_SERVING of all services, for good, and then ends the watches."""
        self._status = dict.fromkeys(self._status, Status.NOT_SERVING)
        self._leaving = True
        self._wake_watchers()

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, _: Call
    ) -> health_pb2.HealthCheckResponse:
        """Gives the status of a service."""
        if request.service not in self._status:
            raise NotFound("SERVICE_UNKNOWN", f"no service is called {quoted(request.service)} here", "service")
        return Status(status=self._status[request.service])

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, _: Call
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Gives the status of a service, and again when it changes, until the caller goes or the server leaves."""
        sent = None
        while True:
            changed = self._changed  # taken before the status is read, so that no change is missed
            status = self._status.get(request.service, Status.SERVICE_UNKNOWN)
            if status != sent:
                yield Status(status=status)
                sent = status
            elif self._leaving:
                return
            else:
                await changed.wait()

    async def List(self, _: Any, __: Call) -> Any:  # noqa: N802
        """Gives the status of every service."""
        return messages.HealthListResponse(
            statuses={service: Status(status=status) for service, status in self._status.items()}
        )

    def _wake_watchers(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
