"""Makes a service by hand, for tests that put something else in the place of a part of it."""

from concurrent.futures import Executor

from vitrine.server.inference.admission import AdmissionConfig
from vitrine.server.inference.batching import BatchingConfig
from vitrine.server.inference.requests import Limits
from vitrine.server.inference.service import Service
from vitrine.server.models.repository import LoadModel
from vitrine.server.models.snapshot import Models, ServedModel


def a_service(
    models: Models | ServedModel,
    pool: Executor,
    *,
    limits: Limits | None = None,
    admission: AdmissionConfig | None = None,
    load: LoadModel | None = None,
) -> Service:
    """A service of models, or of one, whose threads are all in one pool; anyone may call it."""
    served = models if isinstance(models, Models) else Models.of(models)
    return Service(served, limits or Limits(), pool, pool, BatchingConfig(), admission or AdmissionConfig(), load)
