"""`vitrine.v1.ClassifierService`: each method decodes, calls the service, encodes. No logic lives here."""

from collections.abc import AsyncIterator

from vitrine.server.classifier import Classifier
from vitrine.server.grpc.convert import (
    read_classify,
    write_classification,
    write_model,
    write_parameters,
    write_summary,
)
from vitrine.server.grpc.handlers import Context
from vitrine.v1 import classifier_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["ClassifierService"]
"""What the .proto says of the service."""


class ClassifierServicer:
    """The service on the wire; register it with `guarded_handlers`, which turns its errors into statuses."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    async def Classify(self, request: pb.ClassifyRequest, _: Context) -> pb.ClassifyResponse:  # noqa: N802
        """Classifies 1 to N images."""
        return write_classification(await self._classifier.classify(read_classify(request)))

    async def ClassifyStream(  # noqa: N802
        self, requests: AsyncIterator[pb.ClassifyStreamRequest], context: Context
    ) -> AsyncIterator[pb.ClassifyStreamResponse]:
        """Answers one request after the other."""
        async for message in requests:
            yield pb.ClassifyStreamResponse(response=await self.Classify(message.request, context))

    async def ListModels(self, _: pb.ListModelsRequest, __: Context) -> pb.ListModelsResponse:  # noqa: N802
        """Lists the models that are served, and those that should be and have failed."""
        snapshot = self._classifier.models.snapshot
        return pb.ListModelsResponse(models=[write_summary(entry, snapshot.default) for entry in snapshot.entries])

    async def GetModel(self, request: pb.GetModelRequest, _: Context) -> pb.GetModelResponse:  # noqa: N802
        """Describes one model."""
        model = self._classifier.models.get(request.model)
        return pb.GetModelResponse(model=write_model(model, self._classifier.limits))

    async def GetParameters(self, request: pb.GetParametersRequest, _: Context) -> pb.GetParametersResponse:  # noqa: N802
        """Gets one layer's parameters."""
        return write_parameters(*self._classifier.parameters(request.model, request.layer))
