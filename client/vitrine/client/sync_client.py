"""The client that waits: `Client`. Its sibling in `async_client` is the same with `await`.

It knows how calls are sent, waited for and kept in flight; what is in them, `wire` knows.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from vitrine.client import wire
from vitrine.client.base import IN_FLIGHT, BaseClient, Plan, Progress
from vitrine.client.chunks import Chunker
from vitrine.client.connection import open_channel
from vitrine.client.errors import service_errors
from vitrine.client.tracing import CallSpan
from vitrine.client.types import Health, Model, ModelSummary, Parameters, Prediction
from vitrine.client.wire import Preparation, Wanted
from vitrine.model import ImageSource
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response")


@dataclass(frozen=True, slots=True)
class Flight:
    """A request that is under way."""

    future: "grpc.Future[pb.ClassifyResponse]"
    """Its answer, once it is there."""
    images: int
    """How many images it holds."""
    span: CallSpan
    """Its part of a trace."""


class Client(BaseClient):
    """Classifies digits, and gets what every layer calculated on the way; threads may share one.

    It takes the arguments of `BaseClient`, connects at its first call, and closes its connection with `close` or at
    the end of a `with` block. Every method raises a `ServiceError` when its call fails, and a `UsageError` when the
    client is closed.
    """

    def _open(self) -> None:
        self._channel = open_channel(self._connection, self._credentials)
        self._stub = ClassifierServiceStub(self._channel)

    def classify(
        self,
        image: ImageSource,
        *,
        activations: Wanted = "all",
        model: str = "",
        preparation: Preparation = "local",
        timeout: float | None = None,
    ) -> Prediction:
        """Classifies one image.

        Args:
            image: a path, the bytes of an image file, a PIL image, or a uint8 array (H, W), (H, W, 3) or (H, W, 4).
            activations: the layers whose activations are wanted: "all", one name, several, or None.
            model: the name of a served model, or `NAME@VERSION`; empty: the default one.
            preparation: where the image becomes pixels. "local": here, so that 324 bytes are sent. "server": there;
                the image is then a path or bytes. "none": it already is pixels, uint8 (18, 18), 0 = white, 255 = black.
            timeout: the deadline in seconds; None: the client's.

        Raises:
            ImageError: the image can't be read, or is of a kind that `preparation` doesn't take.
            InvalidRequestError: the server refuses the request: for example, an unknown layer.
            NotFoundError: there is no such model.
        """
        payload = wire.read_image(image, preparation)
        request = wire.build_request([payload], wire.build_selection(activations), model, preparation)
        return wire.read_predictions(self._call(self._stub.Classify, request, timeout), 1)[0]

    def classify_many(
        self,
        images: Iterable[ImageSource],
        *,
        activations: Wanted = None,
        model: str = "",
        preparation: Preparation = "local",
        timeout: float | None = None,
        progress: Progress | None = None,
    ) -> Generator[Prediction]:
        """Classifies any number of images, in order, in requests as large as the server's limits allow.

        A few requests are under way at once, so images are prepared while the server works, and memory stays bounded
        however many images there are. Nothing is read or sent before the first prediction is asked for, and `close` on
        the predictions cancels what is under way. When an image can't be read, the predictions of those before it come
        first, then its error.

        Args:
            images: the images, each as `classify` takes it; an array (N, H, W), (N, H, W, 3) or (N, H, W, 4) is one
                iterable of N images.
            activations: the layers whose activations are wanted: "all", one name, several, or None.
            model: the name of a served model, or `NAME@VERSION`; empty: the default one.
            preparation: where the images become pixels, as in `classify`.
            timeout: the deadline of each request in seconds; None: the client's.
            progress: called with the number of images classified so far, after each request's answer.

        Raises:
            UsageError: `images` is a single image.
            ImageError: while iterating, as `classify` does.
            ServiceError: while iterating; the requests under way are cancelled.
        """
        wire.check_preparation(preparation)
        wire.check_images(images)
        plan = Plan(wire.build_selection(activations), model, preparation, self._seconds(timeout), progress)
        return self._predict(images, plan)

    def model(self, name: str = "", *, timeout: float | None = None) -> Model:
        """Describes a served model: layers, classes, limits, training. An empty name: the default model.

        Raises:
            NotFoundError: there is no such model.
        """
        return wire.read_model(self._call(self._stub.GetModel, pb.GetModelRequest(model=name), timeout))

    def models(self, *, timeout: float | None = None) -> tuple[ModelSummary, ...]:
        """Lists the models that are served, and the versions that should be and have failed."""
        return wire.read_summaries(self._call(self._stub.ListModels, pb.ListModelsRequest(), timeout))

    def parameters(self, layer: str, model: str = "", *, timeout: float | None = None) -> Parameters:
        """Gets the weight and bias of a linear layer: what is stored, beside the activations that are calculated.

        Raises:
            InvalidRequestError: there is no such layer, or it stores nothing.
            NotFoundError: there is no such model.
        """
        request = pb.GetParametersRequest(model=model, layer=layer)
        return wire.read_parameters(self._call(self._stub.GetParameters, request, timeout), layer)

    def health(self, *, timeout: float | None = None) -> Health:
        """Asks the server how it is. Where nobody answers, that is an `UnavailableError`."""
        self._check_open()
        check = self._channel.unary_unary(
            wire.HEALTH_CHECK,
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )
        return wire.read_health(self._call(check, health_pb2.HealthCheckRequest(), timeout))

    def close(self) -> None:
        """Closes the connection; calls under way are cancelled. Closing twice does nothing."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(
        self, method: "grpc.UnaryUnaryMultiCallable[Request, Response]", request: Request, timeout: float | None
    ) -> Response:
        self._check_open()
        span = self._span(request)
        with self._errors(timeout), span.ending():
            return method(request, **self._options(timeout, span))

    @contextmanager
    def _errors(self, timeout: float | None) -> Iterator[None]:
        """Turns what calls raise into the client's errors."""
        try:
            with service_errors(self.target, self._seconds(timeout)):
                yield
        except ValueError:  # how gRPC refuses a call on a channel that another thread has closed meanwhile
            self._check_open()
            raise

    def _predict(self, images: Iterable[ImageSource], plan: Plan) -> Generator[Prediction]:
        done = 0
        with closing(self._answers(images, plan)) as answers:
            for predictions in answers:
                done += len(predictions)
                plan.report(done)
                yield from predictions

    def _answers(self, images: Iterable[ImageSource], plan: Plan) -> Generator[list[Prediction]]:
        chunker = plan.chunker(self.model(plan.model, timeout=plan.timeout), self._connection.max_message_bytes)
        in_flight: deque[Flight] = deque()
        try:
            for request in _requests(images, chunker, plan.preparation):
                in_flight.append(self._send(request, plan.timeout))
                while in_flight and (len(in_flight) >= IN_FLIGHT or in_flight[0].future.done()):
                    yield self._land(in_flight.popleft(), plan.timeout)
            while in_flight:
                yield self._land(in_flight.popleft(), plan.timeout)
            chunker.raise_failure()
        finally:
            for flight in in_flight:
                flight.future.cancel()
                flight.span.cancel()

    def _send(self, request: pb.ClassifyRequest, timeout: float | None) -> Flight:
        self._check_open()
        span = self._span(request)
        with self._errors(timeout):
            future = self._stub.Classify.future(request, **self._options(timeout, span))
        future.add_done_callback(span.landed)
        return Flight(future, wire.image_count(request), span)

    def _land(self, flight: Flight, timeout: float | None) -> list[Prediction]:
        with self._errors(timeout), flight.span.ending():
            response = flight.future.result()
        return wire.read_predictions(response, flight.images)


def _requests(
    images: Iterable[ImageSource], chunker: Chunker, preparation: Preparation
) -> Iterator[pb.ClassifyRequest]:
    """The requests for all images; a failing image ends them, and what came before it is still asked for."""
    try:
        for image in images:
            yield from chunker.add(wire.read_image(image, preparation))
    except Exception as error:
        chunker.failure = error
    yield from chunker.rest()
