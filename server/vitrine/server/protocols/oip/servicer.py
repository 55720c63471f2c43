"""`inference.GRPCInferenceService`: each method decodes, looks up the model, calls the service, encodes."""

import time
from collections.abc import Awaitable, Callable

import numpy as np
from google.protobuf.message import Message

from vitrine.oip import inference_pb2 as pb
from vitrine.server.errors import RequestError
from vitrine.server.frontends.grpc.status import CODES
from vitrine.server.inference.call import Call, Stage
from vitrine.server.inference.service import Classification, Classifier, ClassifyRequest
from vitrine.server.models.repository import LoadModel
from vitrine.server.models.snapshot import ServedModel, Snapshot
from vitrine.server.protocols.health import HealthServicer
from vitrine.server.protocols.oip.describe import (
    write_config,
    write_entry,
    write_metadata,
    write_server,
    write_statistics,
)
from vitrine.server.protocols.oip.errors import in_triton_words, unsupported
from vitrine.server.protocols.oip.inputs import read_input
from vitrine.server.protocols.oip.outputs import check_size, further_bytes, read_outputs, write_response
from vitrine.server.protocols.oip.parameters import check_id, check_parameters, id_to_say_back
from vitrine.server.security.access import Permission

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
"""What the .proto says of the service."""

PERMISSIONS = {
    f"/{SERVICE.full_name}/RepositoryModelLoad": Permission.ADMIN,
    f"/{SERVICE.full_name}/RepositoryModelUnload": Permission.ADMIN,
}
"""The permission that a method takes, where it isn't `predict`."""


def _refusing(reason: str) -> Callable[["OipServicer", Message, Call], Awaitable[Message]]:
    """A method that refuses every request."""

    async def refuse(_: "OipServicer", __: Message, ___: Call) -> Message:
        raise unsupported(reason)

    return refuse


class OipServicer:
    """The open protocol on the wire; register it with `guarded_handlers`, which turns its errors into statuses.

    Args:
        classifier: answers.
        health: knows whether the server is leaving.
        load: looks into the model repository; None: there is none.
    """

    def __init__(self, classifier: Classifier, health: HealthServicer, load: LoadModel | None) -> None:
        self._classifier = classifier
        self._health = health
        self._load = load

    async def ServerLive(self, _: pb.ServerLiveRequest, __: Call) -> pb.ServerLiveResponse:  # noqa: N802
        """Says that the server is alive."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, _: pb.ServerReadyRequest, __: Call) -> pb.ServerReadyResponse:  # noqa: N802
        """Says whether the server takes requests."""
        return pb.ServerReadyResponse(ready=self._health.ready)

    async def ModelReady(self, request: pb.ModelReadyRequest, _: Call) -> pb.ModelReadyResponse:  # noqa: N802
        """Says whether a model answers; that there is none is no error."""
        try:
            _model(self._snapshot, request.name, request.version)
        except RequestError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=self._health.ready)

    async def ServerMetadata(self, _: pb.ServerMetadataRequest, __: Call) -> pb.ServerMetadataResponse:  # noqa: N802
        """Says which server this is."""
        return write_server()

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, _: Call) -> pb.ModelMetadataResponse:  # noqa: N802
        """Describes a model's inputs and outputs."""
        models = self._snapshot
        model = _model(models, request.name, request.version)
        return write_metadata(model, _versions(models, model.name, request.version))

    async def ModelInfer(self, request: pb.ModelInferRequest, call: Call) -> pb.ModelInferResponse:  # noqa: N802
        """Classifies 1 to N images."""
        answer = await self._classify(request, call)
        begin = time.monotonic()
        response = write_response(request, answer)
        check_size(response, self._classifier.limits.max_message_bytes)
        call.passed(Stage.ENCODE, begin, time.monotonic())
        return response

    async def ModelStreamInfer(self, request: pb.ModelInferRequest, call: Call) -> pb.ModelStreamInferResponse:  # noqa: N802
        """Answers one request of a stream, which goes on whatever is wrong with the request."""
        try:
            response = await self.ModelInfer(request, call)
        except RequestError as error:
            call.outcome, call.reason = CODES[type(error)].name, error.reason
            response = pb.ModelInferResponse(id=id_to_say_back(request))
            return pb.ModelStreamInferResponse(error_message=str(error), infer_response=response)
        response.parameters["triton_final_response"].bool_param = True
        return pb.ModelStreamInferResponse(infer_response=response)

    async def ModelConfig(self, request: pb.ModelConfigRequest, _: Call) -> pb.ModelConfigResponse:  # noqa: N802
        """Describes a model as the settings of a Triton server would."""
        model = _model(self._snapshot, request.name, request.version)
        config = write_config(model, self._classifier.limits.max_images, self._classifier.batching)
        return pb.ModelConfigResponse(config=config)

    async def ModelStatistics(  # noqa: N802
        self, request: pb.ModelStatisticsRequest, _: Call
    ) -> pb.ModelStatisticsResponse:
        """Tells what models have done."""
        models, done = self._snapshot, self._classifier.statistics
        if request.name:
            asked = _versions(models, _model(models, request.name, request.version).name, request.version)
        else:
            asked = [entry.model for entry in models.entries if entry.model]
        return pb.ModelStatisticsResponse(
            model_stats=[write_statistics(model, done.of(model.label)) for model in asked]
        )

    async def RepositoryIndex(  # noqa: N802
        self, request: pb.RepositoryIndexRequest, _: Call
    ) -> pb.RepositoryIndexResponse:
        """Lists the versions of models that are served, and those that should be and have failed."""
        _refuse_others_than_the_one(request.repository_name)
        wanted = [entry for entry in self._snapshot.entries if entry.model or not request.ready]
        return pb.RepositoryIndexResponse(models=[write_entry(entry) for entry in wanted])

    async def RepositoryModelLoad(  # noqa: N802
        self, request: pb.RepositoryModelLoadRequest, _: Call
    ) -> pb.RepositoryModelLoadResponse:
        """Looks at the model repository now, and tells whether a model's newest version answers."""
        _refuse_others_than_the_one(request.repository_name)
        if request.parameters:
            raise unsupported("NO_OVERRIDES")
        if self._load is None:
            raise unsupported("NO_REPOSITORY")
        with in_triton_words():
            await self._load(request.model_name)
        return pb.RepositoryModelLoadResponse()

    RepositoryModelUnload = _refusing("NO_UNLOADING")
    SystemSharedMemoryStatus = _refusing("NO_SHARED_MEMORY")
    SystemSharedMemoryRegister = _refusing("NO_SHARED_MEMORY")
    SystemSharedMemoryUnregister = _refusing("NO_SHARED_MEMORY")
    CudaSharedMemoryStatus = _refusing("NO_SHARED_MEMORY")
    CudaSharedMemoryRegister = _refusing("NO_SHARED_MEMORY")
    CudaSharedMemoryUnregister = _refusing("NO_SHARED_MEMORY")
    TraceSetting = _refusing("NO_TRACE_SETTINGS")
    LogSettings = _refusing("NO_LOG_SETTINGS")

    async def _classify(self, request: pb.ModelInferRequest, call: Call) -> Classification:
        """The model is looked up once: what reads the request is what answers it, whatever is published meanwhile."""
        call.caller.require(Permission.PREDICT)  # before anything is read: a stream can outlive the permission
        check_id(request)
        check_parameters(request)
        model = _model(self._snapshot, request.model_name, request.model_version, "model_name")
        layers = read_outputs(request, model)
        given = read_input(request, model, self._classifier.limits.max_images)
        pixels, files = (given, None) if isinstance(given, np.ndarray) else (None, given)
        wanted = ClassifyRequest(pixels, files, model, layers, further_bytes(request, model))
        with in_triton_words():
            return await self._classifier.classify(wanted, call)

    @property
    def _snapshot(self) -> Snapshot:
        return self._classifier.models.snapshot


def _model(models: Snapshot, name: str, version: str, field: str = "name") -> ServedModel:
    """The model of that name, or the default; its newest version, unless one is named."""
    with in_triton_words(field):
        return models.get(f"{name or models.default.name}@{version}" if version else name)


def _versions(models: Snapshot, name: str, version: str) -> list[ServedModel]:
    """What answers under that name: all versions, unless one is named."""
    served = [entry.model for entry in models.entries if entry.model and entry.name == name]
    return [model for model in served if version in ("", model.version)]


def _refuse_others_than_the_one(repository_name: str) -> None:
    if repository_name:
        raise unsupported("NO_REPOSITORY_NAMES")
