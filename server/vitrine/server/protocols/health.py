"""`grpc.health.v1`: tells load balancers and orchestrators whether the server takes requests.

The servicer of grpcio-health-checking isn't used, for two faults of its asyncio `Watch`: it never ends, so that each
watching client holds a draining server for as long as it may drain; and a watcher that goes takes the others'
notifications with it.
"""

from collections.abc import AsyncIterator, Collection
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2

from vitrine.server.errors import NotFound, quoted
from vitrine.server.inference.call import Call
from vitrine.server.inference.readiness import Readiness
from vitrine.server.protocols.endpoint import NAME_BYTES, Endpoint

Status = health_pb2.HealthCheckResponse
"""The class that has the statuses' names."""

messages: Any = health_pb2
"""The same messages, of which some are newer than their type stubs."""

SERVICE: ServiceDescriptor = messages.DESCRIPTOR.services_by_name["Health"]
"""The service's description in its .proto."""


class HealthServicer:
    """The health of some services: all of them are as ready as the server.

    Args:
        readiness: the readiness of the server.
        services: the full names of the services; the empty name is the server's.
    """

    def __init__(self, readiness: Readiness, services: Collection[str]) -> None:
        self._readiness = readiness
        self._services = services

    @property
    def endpoint(self) -> Endpoint:
        """The service, for a front end to register."""
        methods = {"Check": self.Check, "Watch": self.Watch, "List": self.List}
        return Endpoint(SERVICE, methods, public=True, max_bytes=NAME_BYTES)

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, _: Call
    ) -> health_pb2.HealthCheckResponse:
        """Gives the status of a service."""
        if request.service not in self._services:
            raise NotFound("SERVICE_UNKNOWN", f"no service is called {quoted(request.service)} here", "service")
        return Status(status=self._status(request.service))

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, _: Call
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Gives the status of a service, and again when it changes, until the caller goes or the server leaves."""
        sent = None
        while True:
            changed = self._readiness.changed  # taken before the status is read, so that no change is missed
            status = self._status(request.service)
            if status != sent:
                yield Status(status=status)
                sent = status
            elif self._readiness.leaving:
                return
            else:
                await changed.wait()

    async def List(self, _: Any, __: Call) -> Any:  # noqa: N802
        """Gives the status of every service."""
        statuses = {service: Status(status=self._status(service)) for service in self._services}
        return messages.HealthListResponse(statuses=statuses)

    def _status(self, service: str) -> Any:
        if service not in self._services:
            return Status.SERVICE_UNKNOWN
        return Status.SERVING if self._readiness.ready else Status.NOT_SERVING
