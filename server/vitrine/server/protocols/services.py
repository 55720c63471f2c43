"""The services that a server has, whatever carries their messages."""

from vitrine.server.inference.service import Service
from vitrine.server.protocols.endpoint import Endpoint, methods_of
from vitrine.server.protocols.health import SERVICE as HEALTH
from vitrine.server.protocols.health import HealthServicer
from vitrine.server.protocols.oip.servicer import SERVICE as OIP
from vitrine.server.protocols.oip.servicer import OipServicer
from vitrine.server.protocols.reflection import SERVICES as REFLECTION
from vitrine.server.protocols.reflection import ReflectionServicer
from vitrine.server.protocols.v1.servicer import SERVICE as V1
from vitrine.server.protocols.v1.servicer import ClassifierServicer

METHODS = methods_of(V1, OIP, HEALTH, *REFLECTION)
"""Every method that there is, as calls name it."""


def endpoints_of(service: Service, *, reflection: bool) -> tuple[Endpoint, ...]:
    """The services of models, then those that are open to all: health, and reflection where it is wanted."""
    models = [ClassifierServicer(service).endpoint, OipServicer(service).endpoint]
    named = [endpoint.name for endpoint in models]
    public = [HealthServicer(service.readiness, ("", *named)).endpoint]
    if reflection:
        described = [*named, HEALTH.full_name, *(service.full_name for service in REFLECTION)]
        public += ReflectionServicer(described).endpoints
    return (*models, *public)
