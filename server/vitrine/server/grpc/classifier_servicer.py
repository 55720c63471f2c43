"""`vitrine.v1.ClassifierService`: each method decodes, calls the service, encodes. No logic lives here."""

from collections.abc import AsyncIterator

from vitrine.server.access import Access, Permission, needed_to_classify
from vitrine.server.classifier import Classifier
from vitrine.server.grpc.convert import (
    read_classify,
    write_classification,
    write_model,
    write_parameters,
    write_summary,
)
from vitrine.server.grpc.gate import caller_of
from vitrine.server.grpc.handlers import Context
from vitrine.v1 import classifier_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["ClassifierService"]
"""What the .proto says of the service."""

PERMISSIONS = {f"/{SERVICE.full_name}/GetParameters": Permission.PARAMETERS}
"""The permission that a method takes, where it isn't `predict`."""


class ClassifierServicer:
    """The service on the wire; register it with `guarded_handlers`, which turns its errors into statuses."""

    def __init__(self, classifier: Classifier, access: Access) -> None:
        self._classifier = classifier
        self._access = access

    async def Classify(self, request: pb.ClassifyRequest, context: Context) -> pb.ClassifyResponse:  # noqa: N802
        """Classifies 1 to N images."""
        plain = read_classify(request)
        caller_of(context.invocation_metadata(), self._access).require(*needed_to_classify(plain))
        return write_classification(await self._classifier.classify(plain))

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
