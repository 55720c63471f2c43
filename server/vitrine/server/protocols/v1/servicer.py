"""`vitrine.v1.ClassifierService`: each method decodes, calls the service, encodes. No logic lives here."""

import time
from functools import partial

from vitrine.server.errors import RequestError
from vitrine.server.inference.call import Call, Stage
from vitrine.server.inference.service import Service
from vitrine.server.protocols.endpoint import Answer, Endpoint
from vitrine.server.protocols.v1.convert import (
    MAX_NAMES,
    read_classify,
    write_classification,
    write_model,
    write_parameters,
    write_summary,
)
from vitrine.server.security.access import Permission
from vitrine.server.threads import off_loop
from vitrine.v1 import classifier_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["ClassifierService"]
"""The service's description in its .proto."""

FURTHER_FIELDS = 64
"""Fields of a good request beside its images and the names of layers, at most."""


class ClassifierServicer:
    """The service on the wire.

    Args:
        service: answers.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def endpoint(self) -> Endpoint:
        """The service, for a front end to register."""
        methods: dict[str, Answer] = {
            "Classify": self.Classify,
            "ClassifyStream": self.ClassifyStream,
            "ListModels": self.ListModels,
            "GetModel": self.GetModel,
            "GetParameters": self.GetParameters,
        }
        max_fields = self._service.limits.max_images + MAX_NAMES + FURTHER_FIELDS
        return Endpoint(
            SERVICE,
            methods,
            {"GetParameters": Permission.PARAMETERS},
            max_fields=lambda: max_fields,
            large=("Classify", "ClassifyStream"),
        )

    async def Classify(self, request: pb.ClassifyRequest, call: Call) -> pb.ClassifyResponse:  # noqa: N802
        """Classifies 1 to N images."""
        try:
            model = self._service.model(request.model, call)
            answer = await self._service.classify(read_classify(request, model), call)
        except RequestError as error:
            raise _in_wire_paths(error) from error
        begin = time.monotonic()
        response = await off_loop(call.answer_bytes, partial(write_classification, answer))
        call.passed(Stage.ENCODE, begin, time.monotonic())
        return response

    async def ClassifyStream(self, request: pb.ClassifyStreamRequest, call: Call) -> pb.ClassifyStreamResponse:  # noqa: N802
        """Answers one request of a stream."""
        try:
            return pb.ClassifyStreamResponse(response=await self.Classify(request.request, call))
        except RequestError as error:
            raise error.at(error.field and f"request.{error.field}") from error

    async def ListModels(self, _: pb.ListModelsRequest, call: Call) -> pb.ListModelsResponse:  # noqa: N802
        """Lists the models that are served, and those that should be and have failed."""
        snapshot = self._service.list_models(call)
        return pb.ListModelsResponse(models=[write_summary(entry, snapshot.default) for entry in snapshot.entries])

    async def GetModel(self, request: pb.GetModelRequest, call: Call) -> pb.GetModelResponse:  # noqa: N802
        """Describes one model."""
        described = self._service.describe(request.model, call)
        return pb.GetModelResponse(model=write_model(described.model, described.limits))

    async def GetParameters(self, request: pb.GetParametersRequest, call: Call) -> pb.GetParametersResponse:  # noqa: N802
        """Gets one layer's parameters, or some of its rows."""
        found = self._service.parameters(request.model, request.layer, call, request.first_row, request.max_bytes)
        return await off_loop(call.answer_bytes, partial(write_parameters, found))


def _in_wire_paths(error: RequestError) -> RequestError:
    """The error with the path of its field on the wire, which has the service's `files` inside `encoded`."""
    return error.at(f"encoded.{error.field}") if error.field.startswith("files") else error.at(error.field)
