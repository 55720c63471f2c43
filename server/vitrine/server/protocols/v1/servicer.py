"""`vitrine.v1.ClassifierService`: each method decodes, calls the service, encodes. No logic lives here."""

import time
from functools import partial

from vitrine.server.errors import RequestError
from vitrine.server.inference.call import Call, Stage
from vitrine.server.inference.interventions import MOST_CHANGES
from vitrine.server.inference.service import Service
from vitrine.server.protocols.endpoint import Answer, Endpoint
from vitrine.server.protocols.v1.convert import (
    MAX_NAMES,
    KnownClassify,
    read_classify,
    write_model,
    write_parameters,
    write_preparation,
    write_summary,
)
from vitrine.server.protocols.v1.frames import ClassifyAnswer
from vitrine.server.protocols.v1.inside import read_explain, read_interventions, write_explanation
from vitrine.server.protocols.v1.recognition import recognising
from vitrine.server.security.access import Permission
from vitrine.server.threads import off_loop
from vitrine.v1 import classifier_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["ClassifierService"]
"""The service's description in its .proto."""

FURTHER_FIELDS = 64
"""Fields of a good request beside its images, the names of layers and interventions, at most."""

CHANGE_FIELDS = 6
"""Fields of an intervention: itself, its layer, its change, and some for its units."""

PACKED_BYTES = 64
"""The bytes of a list of numbers, such as an intervention's units, that take as long to read as one field."""


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
            "Explain": self.Explain,
            "ListModels": self.ListModels,
            "GetModel": self.GetModel,
            "GetParameters": self.GetParameters,
            "Prepare": self.Prepare,
        }
        max_images = self._service.limits.max_images
        max_fields = 2 * max_images + MAX_NAMES + FURTHER_FIELDS + MOST_CHANGES * CHANGE_FIELDS
        return Endpoint(
            SERVICE,
            methods,
            {"GetParameters": Permission.PARAMETERS, "Explain": Permission.ATTRIBUTION},
            max_fields=lambda: max_fields,
            shortcuts={"Classify": recognising},
            packed_bytes=PACKED_BYTES,
            busy=("Classify",),
            large=("Classify", "ClassifyStream", "Explain", "Prepare"),
        )

    async def Classify(self, request: pb.ClassifyRequest | KnownClassify, call: Call) -> ClassifyAnswer:  # noqa: N802
        """Classifies 1 to N images."""
        try:
            model = self._service.model(request.model, call)
            interventions = None if isinstance(request, KnownClassify) else read_interventions(request)
            answer = await self._service.classify(read_classify(request, model, interventions), call)
        except RequestError as error:
            raise _in_wire_paths(error) from error
        return ClassifyAnswer(answer)

    async def ClassifyStream(self, request: pb.ClassifyStreamRequest, call: Call) -> pb.ClassifyStreamResponse:  # noqa: N802
        """Answers one request of a stream."""
        try:
            answer = await self.Classify(request.request, call)
        except RequestError as error:
            raise error.at(error.field and f"request.{error.field}") from error
        begin = time.monotonic()
        message = await off_loop(call.answer_bytes, answer.message)
        call.passed(Stage.ENCODE, begin, time.monotonic())
        return pb.ClassifyStreamResponse(response=message)

    async def Explain(self, request: pb.ExplainRequest, call: Call) -> pb.ExplainResponse:  # noqa: N802
        """Explains 1 to N images."""
        try:
            model = self._service.model(request.model, call)
            answer = await self._service.explain(read_explain(request, model), call)
        except RequestError as error:
            raise _in_wire_paths(error) from error
        begin = time.monotonic()
        response = await off_loop(call.answer_bytes, partial(write_explanation, answer))
        call.passed(Stage.ENCODE, begin, time.monotonic())
        return response

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

    async def Prepare(self, request: pb.PrepareRequest, call: Call) -> pb.PrepareResponse:  # noqa: N802
        """Shows how an image file becomes pixels."""
        model = self._service.model(request.model, call)
        return write_preparation(await self._service.show_preparation(model, request.file, call))


def _in_wire_paths(error: RequestError) -> RequestError:
    """The error with the path of its field on the wire, which has the service's `files` inside `encoded`."""
    return error.at(f"encoded.{error.field}") if error.field.startswith("files") else error.at(error.field)
