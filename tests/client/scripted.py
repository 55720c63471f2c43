"""A server that follows a test's script, over a real socket: it fails, waits, or answers by a simple rule.

The rule: an image's class is its first pixel modulo the number of classes. Its activations are all that first pixel,
and so is its novelty if the server has a threshold.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from vitrine.client.wire import KINDS
from vitrine.model import DIGITS, PIXELS_SHAPE, Layer, Shape, layer_catalogue
from vitrine.server.protocols.metadata import NO_RETRY
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceServicer, add_ClassifierServiceServicer_to_server

PATIENCE_SECONDS = 30
"""How long the server waits for what should come at once; never waited for when all is well."""

LAYERS = layer_catalogue([8])
IDENTITY = pb.ModelIdentity(name="scripted", version="1", provider="CPUExecutionProvider")
OUR_KINDS = {ours: theirs for theirs, ours in KINDS.items()}

Step = Callable[[Any, grpc.ServicerContext], None]
"""What a call does before it is answered; it gets the request and gRPC's context."""


def succeed(request: Any, context: grpc.ServicerContext) -> None:
    """Goes on to the answer."""


def fail_inside(_request: Any, context: grpc.ServicerContext) -> None:
    """Ends the call as the server does when something went wrong inside."""
    context.set_trailing_metadata((NO_RETRY,))
    context.abort(grpc.StatusCode.INTERNAL, "told to")


def fail(code: grpc.StatusCode, text: str = "told to", details: tuple[Message, ...] = ()) -> Step:
    """Ends the call with a status, and with `google.rpc` details if there are any."""

    def step(request: Any, context: grpc.ServicerContext) -> None:
        if details:
            status = status_pb2.Status(code=code.value[0], message=text)
            for detail in details:
                status.details.add().Pack(detail)
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, text)

    return step


def error_info(reason: str) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(reason=reason, domain="vitrine")


def bad_field(path: str) -> error_details_pb2.BadRequest:
    violation = error_details_pb2.BadRequest.FieldViolation(field=path, description="told to")
    return error_details_pb2.BadRequest(field_violations=[violation])


def retry_info(seconds: float) -> error_details_pb2.RetryInfo:
    delay = Duration()
    delay.FromMilliseconds(round(seconds * 1000))
    return error_details_pb2.RetryInfo(retry_delay=delay)


def wait_for_the_client_to_leave(request: Any, context: grpc.ServicerContext) -> None:
    """Answers only when nobody listens any more."""
    gone = threading.Event()
    if context.add_callback(gone.set):
        assert gone.wait(PATIENCE_SECONDS)


@dataclass
class ScriptedModel:
    """The model that a scripted server serves, whatever name is asked for."""

    version: str = "1"
    shape: Shape = PIXELS_SHAPE
    classes: tuple[str, ...] = DIGITS
    preparation: str = "ink"
    digest: str = ""
    """Digest of its file; empty from an older server."""
    newer_layers: tuple[pb.Layer, ...] = ()
    """Layers that only a newer client knows, before the output layer."""

    @property
    def identity(self) -> pb.ModelIdentity:
        provider = "CPUExecutionProvider"
        return pb.ModelIdentity(name="scripted", version=self.version, provider=provider, digest=self.digest)

    @property
    def layers(self) -> tuple[Layer, ...]:
        return layer_catalogue([8], shape=self.shape, classes=len(self.classes))

    def described(self, limits: pb.Limits, threshold: float | None, *, as_before_shapes: bool) -> pb.Model:
        """Its description; `as_before_shapes`: that of a server from before layers had shapes."""
        layers = [*map(self._layer, self.layers[:-1]), *self.newer_layers, self._layer(self.layers[-1])]
        model = pb.Model(
            identity=self.identity,
            layers=layers,
            pixels_shape=self.shape,
            classes=self.classes,
            limits=limits,
            novelty_threshold=threshold,
            input=pb.ModelInput(name="pixels", dtype="uint8", shape=self.shape, preparation=self.preparation),
        )
        if as_before_shapes:
            model.ClearField("input")
            for layer in model.layers:
                layer.ClearField("shape")
                layer.ClearField("inputs")
        return model

    def _layer(self, layer: Layer) -> pb.Layer:
        return pb.Layer(
            name=layer.name,
            kind=OUR_KINDS[layer.kind],
            width=layer.width,
            reads=layer.reads[0] if layer.reads else "",
            shape=layer.shape,
            inputs=layer.reads,
        )


class ScriptedServer(ClassifierServiceServicer):
    """Each call takes the next step of `script`; when there is none, it succeeds."""

    def __init__(self) -> None:
        self.target = ""
        self.script: list[Step] = []
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.limits = pb.Limits(max_images=4, max_message_bytes=1 << 20, max_image_pixels=1000)
        self.model = ScriptedModel()
        self.is_old = False
        self.answer: pb.ClassifyResponse | None = None
        self.parameters: npt.NDArray[np.float32] | None = None
        """The weight whose rows are given two at a time, with a bias of zeros; None: an older server's answer."""
        self.threshold: float | None = None
        self.serving = True
        self._lock = threading.Lock()

    def _arrive(self, request: Any, context: grpc.ServicerContext) -> None:
        with self._lock:
            self.requests.append(request)
            self.metadata.append(dict(context.invocation_metadata()))
            step = self.script.pop(0) if self.script else succeed
        step(request, context)

    @property
    def classified(self) -> list[pb.ClassifyRequest]:
        """The requests to classify, in the order of arrival."""
        return [request for request in self.requests if isinstance(request, pb.ClassifyRequest)]

    @property
    def lookups(self) -> list[str]:
        """The names of the models whose description was asked for."""
        return [request.model for request in self.requests if isinstance(request, pb.GetModelRequest)]

    @property
    def sizes(self) -> list[int]:
        """The number of images of each request to classify."""
        return [count_of(request) for request in self.classified]

    def Classify(self, request: pb.ClassifyRequest, context: Any) -> pb.ClassifyResponse:  # noqa: N802
        self._arrive(request, context)
        if request.HasField("pixels") and tuple(request.pixels.shape[1:]) != self.model.shape:
            fail(grpc.StatusCode.INVALID_ARGUMENT, "wrong shape", (error_info("WRONG_SHAPE"),))(request, context)
        return self.answer or answer_to(request, self.threshold, self.model)

    def GetModel(self, request: pb.GetModelRequest, context: Any) -> pb.GetModelResponse:  # noqa: N802
        self._arrive(request, context)
        described = self.model.described(self.limits, self.threshold, as_before_shapes=self.is_old)
        return pb.GetModelResponse(model=described)

    def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:  # noqa: N802
        self._arrive(request, context)
        failed = pb.ModelIdentity(name="scripted", version="2")
        summaries = [
            pb.ModelSummary(identity=failed, state=pb.MODEL_STATE_FAILED, reason="it is cut off"),
            pb.ModelSummary(identity=IDENTITY, default=True, state=pb.MODEL_STATE_AVAILABLE),
            pb.ModelSummary(identity=IDENTITY, state=99),  # type: ignore[arg-type]
        ]
        return pb.ListModelsResponse(models=summaries)

    def Explain(self, _: pb.ExplainRequest, context: Any) -> pb.ExplainResponse:  # noqa: N802
        """Refuses: a scripted model has no weights."""
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "no explanations here")
        raise AssertionError

    def Prepare(self, _: pb.PrepareRequest, context: Any) -> pb.PrepareResponse:  # noqa: N802
        """Refuses: nothing is prepared here."""
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "no preparation here")
        raise AssertionError

    def GetParameters(self, request: pb.GetParametersRequest, context: Any) -> pb.GetParametersResponse:  # noqa: N802
        self._arrive(request, context)
        if self.parameters is not None:
            return rows_of(self.parameters, request, self.model.identity)
        weight, bias = floats("weight", np.eye(3)), floats("bias", np.zeros(3))
        return pb.GetParametersResponse(model=IDENTITY, weight=weight, bias=bias)

    def ClassifyStream(self, request_iterator: Any, context: Any) -> Iterator[pb.ClassifyStreamResponse]:  # noqa: N802
        raise NotImplementedError("the client doesn't use it")


class ScriptedHealth(health.HealthServicer):
    """The health service, by the same script."""

    def __init__(self, scripted: ScriptedServer) -> None:
        super().__init__()
        self._scripted = scripted

    def Check(self, request: Any, context: Any) -> health_pb2.HealthCheckResponse:  # noqa: N802
        self._scripted._arrive(request, context)
        serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
        return health_pb2.HealthCheckResponse(status=serving if self._scripted.serving else not_serving)


def count_of(request: pb.ClassifyRequest) -> int:
    return request.pixels.shape[0] if request.HasField("pixels") else len(request.encoded.files)


def answer_to(
    request: pb.ClassifyRequest, threshold: float | None = None, model: ScriptedModel | None = None
) -> pb.ClassifyResponse:
    """The answer by the rule; of an image file, the first byte counts. Without a threshold, an older server's."""
    model, count = model or ScriptedModel(), count_of(request)
    data = np.frombuffer(request.pixels.data, np.uint8).reshape(count, -1) if request.HasField("pixels") else None
    firsts = data[:, 0] if data is not None else np.array([file[0] for file in request.encoded.files], np.uint8)
    wanted = request.activations
    layers = [layer for layer in model.layers if wanted.all or layer.name in wanted.names]
    activations = [floats(layer.name, np.repeat(firsts[:, None], layer.width, axis=1)) for layer in layers]
    newer = [floats(layer.name, firsts[:, None]) for layer in model.newer_layers if wanted.all]
    classes = len(model.classes)
    return pb.ClassifyResponse(
        model=model.identity,
        digits=[int(first) % classes for first in firsts],
        probabilities=floats("softmax", np.eye(classes)[firsts % classes]),
        activations=[*activations[:-1], *newer, *activations[-1:]],
        novelties=[] if threshold is None else firsts.tolist(),
        are_digits=[] if threshold is None else (firsts <= threshold).tolist(),
    )


def rows_of(
    weight: npt.NDArray[np.float32], request: pb.GetParametersRequest, model: pb.ModelIdentity
) -> pb.GetParametersResponse:
    """Two rows of a weight, from the first that is wanted on."""
    part = weight[request.first_row : request.first_row + 2]
    weight_part, bias_part = floats("weight", part), floats("bias", np.zeros(len(part)))
    return pb.GetParametersResponse(model=model, weight=weight_part, bias=bias_part, row_count=len(weight))


def floats(name: str, values: Any) -> pb.Tensor:
    array = np.asarray(values, "<f4")
    return pb.Tensor(name=name, shape=array.shape, dtype=pb.DATA_TYPE_FLOAT32, data=array.tobytes())


@contextmanager
def running(credentials: grpc.ServerCredentials | None = None) -> Iterator[ScriptedServer]:
    """A scripted server on a free port of this machine."""
    scripted = ScriptedServer()
    unlimited = [("grpc.max_receive_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(8), options=unlimited)
    add_ClassifierServiceServicer_to_server(scripted, server)
    health_pb2_grpc.add_HealthServicer_to_server(ScriptedHealth(scripted), server)
    address = "127.0.0.1:0"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    scripted.target = f"localhost:{port}"
    server.start()
    try:
        yield scripted
    finally:
        server.stop(None).wait()
