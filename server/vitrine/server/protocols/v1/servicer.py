"""`vitrine.v1.ClassifierService`: each method decodes, calls the service, encodes. No logic lives here."""

import time

from vitrine.server.inference.call import Call, Stage
from vitrine.server.inference.service import Classifier
from vitrine.server.protocols.v1.convert import (
    read_classify,
    write_classification,
    write_model,
    write_parameters,
    write_summary,
)
from vitrine.server.security.access import Permission
from vitrine.v1 import classifier_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["ClassifierService"]
"""What the .proto says of the service."""

PERMISSIONS = {f"/{SERVICE.full_name}/GetParameters": Permission.PARAMETERS}
"""The permission that a method takes, where it isn't `predict`."""


class ClassifierServicer:
    """The service on the wire; register it with `guarded_handlers`, which turns its errors into statuses."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    async def Classify(self, request: pb.ClassifyRequest, call: Call) -> pb.ClassifyResponse:  # noqa: N802
        """Classifies 1 to N images."""
        call.caller.require(Permission.PREDICT)  # before a model is looked up: a stream can outlive the permission
        model = self._classifier.models.get(request.model)
        answer = await self._classifier.classify(read_classify(request, model), call)
        begin = time.monotonic()
        response = write_classification(answer)
        call.passed(Stage.ENCODE, begin, time.monotonic())
        return response

    async def ClassifyStream(self, request: pb.ClassifyStreamRequest, call: Call) -> pb.ClassifyStreamResponse:  # noqa: N802
        """Answers one request of a stream."""
        return pb.ClassifyStreamResponse(response=await self.Classify(request.request, call))

    async def ListModels(self, _: pb.ListModelsRequest, __: Call) -> pb.ListModelsResponse:  # noqa: N802
        """Lists the models that are served, and those that should be and have failed."""
        snapshot = self._classifier.models.snapshot
        return pb.ListModelsResponse(models=[write_summary(entry, snapshot.default) for entry in snapshot.entries])

    async def GetModel(self, request: pb.GetModelRequest, _: Call) -> pb.GetModelResponse:  # noqa: N802
        """Describes one model."""
        model = self._classifier.models.get(request.model)
        return pb.GetModelResponse(model=write_model(model, self._classifier.limits))

    async def GetParameters(self, request: pb.GetParametersRequest, call: Call) -> pb.GetParametersResponse:  # noqa: N802
        """Gets one layer's parameters."""
        return write_parameters(*self._classifier.parameters(request.model, request.layer, call))
