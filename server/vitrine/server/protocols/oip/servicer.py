"""`inference.GRPCInferenceService`: each method decodes, looks up the model, calls the service, encodes."""

import time
from collections.abc import Awaitable, Callable
from functools import partial

import numpy as np
from google.protobuf.message import Message

from vitrine.oip import inference_pb2 as pb
from vitrine.server.errors import RequestError
from vitrine.server.inference.call import OUTCOMES, Call, Stage
from vitrine.server.inference.requests import Classification, ClassifyRequest, ModelDescription
from vitrine.server.inference.service import Service
from vitrine.server.protocols.endpoint import Answer, Endpoint
from vitrine.server.protocols.oip.describe import (
    write_config,
    write_entry,
    write_metadata,
    write_server,
    write_statistics,
)
from vitrine.server.protocols.oip.errors import in_triton_words, unsupported
from vitrine.server.protocols.oip.frames import Frame, InferAnswer
from vitrine.server.protocols.oip.inputs import PACKED_BYTES, fields_per_image, read_input
from vitrine.server.protocols.oip.interventions import split_interventions
from vitrine.server.protocols.oip.outputs import check_size, further_bytes, read_outputs, write_response
from vitrine.server.protocols.oip.parameters import check_id, check_parameters, echoed_id
from vitrine.server.protocols.oip.recognition import KnownInfer, recognising
from vitrine.server.security.access import Permission
from vitrine.server.threads import off_loop

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
"""The service's description in its .proto."""

FURTHER_FIELDS = 1088
"""Fields of a good request beside its images, at most: the names of outputs, and a few more."""


def _refusing(reason: str, *permissions: Permission) -> Callable[["OipServicer", Message, Call], Awaitable[Message]]:
    """A method that refuses every request, first for want of these permissions."""

    async def refuse(_: "OipServicer", __: Message, call: Call) -> Message:
        call.caller.require(*permissions)
        raise unsupported(reason)

    return refuse


class OipServicer:
    """The open protocol on the wire.

    Args:
        service: answers.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def endpoint(self) -> Endpoint:
        """The service, for a front end to register."""
        methods: dict[str, Answer] = {
            "ServerLive": self.ServerLive,
            "ServerReady": self.ServerReady,
            "ServerMetadata": self.ServerMetadata,
            "ModelReady": self.ModelReady,
            "ModelMetadata": self.ModelMetadata,
            "ModelConfig": self.ModelConfig,
            "ModelStatistics": self.ModelStatistics,
            "ModelInfer": self.ModelInfer,
            "ModelStreamInfer": self.ModelStreamInfer,
            "RepositoryIndex": self.RepositoryIndex,
            "RepositoryModelLoad": self.RepositoryModelLoad,
            "RepositoryModelUnload": self.RepositoryModelUnload,
            "SystemSharedMemoryStatus": self.SystemSharedMemoryStatus,
            "SystemSharedMemoryRegister": self.SystemSharedMemoryRegister,
            "SystemSharedMemoryUnregister": self.SystemSharedMemoryUnregister,
            "CudaSharedMemoryStatus": self.CudaSharedMemoryStatus,
            "CudaSharedMemoryRegister": self.CudaSharedMemoryRegister,
            "CudaSharedMemoryUnregister": self.CudaSharedMemoryUnregister,
            "TraceSetting": self.TraceSetting,
            "LogSettings": self.LogSettings,
        }
        permissions = dict.fromkeys(("RepositoryModelLoad", "RepositoryModelUnload"), Permission.ADMIN)
        return Endpoint(
            SERVICE,
            methods,
            permissions,
            max_fields=self._max_fields,
            packed_bytes=PACKED_BYTES,
            shortcuts={"ModelInfer": recognising},
            busy=("ModelInfer",),
            large=("ModelInfer", "ModelStreamInfer"),
        )

    def _max_fields(self) -> int:
        """Fields for typed pixels of the largest model that is served, and no more than a message can hold."""
        limits, models = self._service.limits, self._service.models.snapshot.models
        typed = limits.max_images * max(map(fields_per_image, models))
        return FURTHER_FIELDS + min(typed, limits.max_images + limits.max_message_bytes // PACKED_BYTES)

    async def ServerLive(self, _: pb.ServerLiveRequest, __: Call) -> pb.ServerLiveResponse:  # noqa: N802
        """Tells that the server is alive."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, _: pb.ServerReadyRequest, __: Call) -> pb.ServerReadyResponse:  # noqa: N802
        """Tells whether the server takes requests."""
        return pb.ServerReadyResponse(ready=self._service.readiness.ready)

    async def ModelReady(self, request: pb.ModelReadyRequest, call: Call) -> pb.ModelReadyResponse:  # noqa: N802
        """Tells whether a model answers; that there is none is no error."""
        return pb.ModelReadyResponse(ready=self._service.ready(request.name, call, request.version))

    async def ServerMetadata(self, _: pb.ServerMetadataRequest, __: Call) -> pb.ServerMetadataResponse:  # noqa: N802
        """Names the server and its extensions."""
        return write_server()

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, call: Call) -> pb.ModelMetadataResponse:  # noqa: N802
        """Describes a model's inputs and outputs."""
        described = self._describe(request.name, request.version, call)
        return write_metadata(described.model, described.versions)

    async def ModelInfer(  # noqa: N802
        self, request: pb.ModelInferRequest | KnownInfer, call: Call
    ) -> pb.ModelInferResponse | InferAnswer:
        """Classifies 1 to N images."""
        if isinstance(request, KnownInfer):
            return await self._infer_known(request, call)
        answer = await self._classify(request, call)
        return await self._written(request, answer, call)

    async def ModelStreamInfer(self, request: pb.ModelInferRequest, call: Call) -> pb.ModelStreamInferResponse:  # noqa: N802
        """Answers one request of a stream, which goes on whatever is wrong with the request."""
        try:
            response = await self._written(request, await self._classify(request, call), call)
        except RequestError as error:
            call.outcome, call.reason = OUTCOMES[type(error)], error.reason
            response = pb.ModelInferResponse(id=echoed_id(request))
            return pb.ModelStreamInferResponse(error_message=str(error), infer_response=response)
        response.parameters["triton_final_response"].bool_param = True
        return pb.ModelStreamInferResponse(infer_response=response)

    async def ModelConfig(self, request: pb.ModelConfigRequest, call: Call) -> pb.ModelConfigResponse:  # noqa: N802
        """Describes a model as the settings of a Triton server would."""
        described = self._describe(request.name, request.version, call)
        config = write_config(described.model, described.limits.max_images, self._service.batching)
        return pb.ModelConfigResponse(config=config)

    async def ModelStatistics(  # noqa: N802
        self, request: pb.ModelStatisticsRequest, call: Call
    ) -> pb.ModelStatisticsResponse:
        """Gives the statistics of one model's versions, or of all models."""
        done = self._service.statistics
        if request.name:
            models = self._describe(request.name, request.version, call).versions
        else:
            models = self._service.list_models(call).models
        return pb.ModelStatisticsResponse(
            model_stats=[write_statistics(model, done.of(model.label)) for model in models]
        )

    async def RepositoryIndex(  # noqa: N802
        self, request: pb.RepositoryIndexRequest, call: Call
    ) -> pb.RepositoryIndexResponse:
        """Lists the versions of models that are served, and those that should be and have failed."""
        _refuse_other_repositories(request.repository_name)
        entries = self._service.list_models(call).entries
        wanted = [entry for entry in entries if entry.model or not request.ready]
        return pb.RepositoryIndexResponse(models=[write_entry(entry) for entry in wanted])

    async def RepositoryModelLoad(  # noqa: N802
        self, request: pb.RepositoryModelLoadRequest, call: Call
    ) -> pb.RepositoryModelLoadResponse:
        """Looks at the model repository now; succeeds when a model's newest version is served."""
        call.caller.require(Permission.ADMIN)  # before anything is read
        _refuse_other_repositories(request.repository_name)
        if request.parameters:
            raise unsupported("NO_OVERRIDES")
        try:
            await self._service.load(request.model_name, call)
        except RequestError as error:
            raise in_triton_words(error) from error
        return pb.RepositoryModelLoadResponse()

    RepositoryModelUnload = _refusing("NO_UNLOADING", Permission.ADMIN)
    SystemSharedMemoryStatus = _refusing("NO_SHARED_MEMORY")
    SystemSharedMemoryRegister = _refusing("NO_SHARED_MEMORY")
    SystemSharedMemoryUnregister = _refusing("NO_SHARED_MEMORY")
    CudaSharedMemoryStatus = _refusing("NO_SHARED_MEMORY")
    CudaSharedMemoryRegister = _refusing("NO_SHARED_MEMORY")
    CudaSharedMemoryUnregister = _refusing("NO_SHARED_MEMORY")
    TraceSetting = _refusing("NO_TRACE_SETTINGS")
    LogSettings = _refusing("NO_LOG_SETTINGS")

    async def _classify(self, request: pb.ModelInferRequest, call: Call) -> Classification:
        """The model is looked up once: it reads the request and answers it, whatever is published meanwhile."""
        call.caller.require(Permission.PREDICT)  # before anything is read: a stream can outlive the permission
        check_id(request)
        check_parameters(request)
        try:
            model = self._service.model(request.model_name, call, request.model_version)
            layers = read_outputs(request, model)
            request, interventions = split_interventions(request, model)
            given = read_input(request, model, self._service.limits.max_images)
            pixels, files = (given, None) if isinstance(given, np.ndarray) else (None, given)
            wanted = ClassifyRequest(model, pixels, files, layers, interventions)
            return await self._service.classify(wanted, call, further_bytes(request, model))
        except RequestError as error:
            raise in_triton_words(error) from error

    async def _infer_known(self, known: KnownInfer, call: Call) -> pb.ModelInferResponse | InferAnswer:
        """Answers a request that was recognised. The first one of a kind for each model takes the usual way."""
        call.caller.require(Permission.PREDICT)
        kind = known.kind
        try:
            model = self._service.model(kind.model_name, call, kind.model_version)
            if (frame := kind.frames.get(model)) is not None:
                request = known.classify_request(model, frame)
                return InferAnswer(frame, await self._service.classify(request, call, frame.further_bytes))
        except RequestError as error:
            raise in_triton_words(error) from error
        message = known.message()
        answer = await self._classify(message, call)
        response = await self._written(message, answer, call)
        if answer.model not in kind.frames:
            kind.frames[answer.model] = Frame.of(message, answer, response)
        return response

    async def _written(
        self, request: pb.ModelInferRequest, answer: Classification, call: Call
    ) -> pb.ModelInferResponse:
        begin = time.monotonic()
        response = await off_loop(call.answer_bytes, partial(write_response, request, answer))
        check_size(response, self._service.limits.max_message_bytes)
        call.passed(Stage.ENCODE, begin, time.monotonic())
        return response

    def _describe(self, name: str, version: str, call: Call) -> ModelDescription:
        try:
            return self._service.describe(name, call, version)
        except RequestError as error:
            raise in_triton_words(error, "name") from error


def _refuse_other_repositories(name: str) -> None:
    if name:
        raise unsupported("NO_REPOSITORY_NAMES")
