"""The client for asyncio: `AsyncClient`, the sibling of `sync_client` with `await`.

It knows how calls are sent, awaited and kept in flight; what is in them, `wire` knows.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from vitrine.client import wire
from vitrine.client.base import IN_FLIGHT, BaseClient, Plan, Progress
from vitrine.client.chunks import Chunker
from vitrine.client.connection import open_async_channel
from vitrine.client.errors import closed_error, service_errors
from vitrine.client.tracing import CallSpan
from vitrine.client.types import Health, Model, ModelSummary, Parameters, Prediction
from vitrine.client.wire import Preparation, Wanted
from vitrine.model import ImageSource
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

if TYPE_CHECKING:
    from vitrine.v1.classifier_pb2_grpc import ClassifierServiceAsyncStub

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response")


@dataclass(frozen=True, slots=True)
class Flight:
    """A request that is under way."""

    call: "grpc.aio.UnaryUnaryCall[pb.ClassifyRequest, pb.ClassifyResponse]"
    """Its answer, once it is there."""
    images: int
    """How many images it holds."""
    span: CallSpan
    """Its part of a trace."""


class AsyncClient(BaseClient):
    """`Client` with `await`: the same arguments, methods, results and errors, for one event loop.

    It may be made anywhere, and connects at its first call. Close it with `await close()` or at the end of an
    `async with` block. Images are prepared in a thread, so that the event loop goes on meanwhile.
    """

    def _open(self) -> None:
        self._channel: grpc.aio.Channel | None = None
        self._classifier: ClassifierServiceAsyncStub

    async def classify(
        self,
        image: ImageSource,
        *,
        activations: Wanted = "all",
        model: str = "",
        preparation: Preparation = "local",
        timeout: float | None = None,
    ) -> Prediction:
        """Classifies one image: see `Client.classify`."""
        payload = await asyncio.to_thread(wire.read_image, image, preparation)
        request = wire.build_request([payload], wire.build_selection(activations), model, preparation)
        return wire.read_predictions(await self._call(self._stub().Classify, request, timeout), 1)[0]

    def classify_many(
        self,
        images: Iterable[ImageSource] | AsyncIterable[ImageSource],
        *,
        activations: Wanted = None,
        model: str = "",
        preparation: Preparation = "local",
        timeout: float | None = None,
        progress: Progress | None = None,
    ) -> AsyncGenerator[Prediction]:
        """Classifies any number of images, in order: see `Client.classify_many`.

        `images` may be async, too; an async generator is closed with the predictions (`aclose`) or at their end.
        """
        wire.check_preparation(preparation)
        wire.check_images(images)
        plan = Plan(wire.build_selection(activations), model, preparation, self._seconds(timeout), progress)
        return self._predict(images, plan)

    async def model(self, name: str = "", *, timeout: float | None = None) -> Model:
        """Describes a served model: see `Client.model`."""
        return wire.read_model(await self._call(self._stub().GetModel, pb.GetModelRequest(model=name), timeout))

    async def models(self, *, timeout: float | None = None) -> tuple[ModelSummary, ...]:
        """Lists the models that are served, and the versions that should be and have failed."""
        return wire.read_summaries(await self._call(self._stub().ListModels, pb.ListModelsRequest(), timeout))

    async def parameters(self, layer: str, model: str = "", *, timeout: float | None = None) -> Parameters:
        """Gets the weight and bias of a linear layer: see `Client.parameters`."""
        request = pb.GetParametersRequest(model=model, layer=layer)
        return wire.read_parameters(await self._call(self._stub().GetParameters, request, timeout), layer)

    async def health(self, *, timeout: float | None = None) -> Health:
        """Asks the server how it is: see `Client.health`."""
        check = self._connected().unary_unary(
            wire.HEALTH_CHECK,
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )
        return wire.read_health(await self._call(check, health_pb2.HealthCheckRequest(), timeout))

    async def close(self) -> None:
        """Closes the connection; calls under way are cancelled. Closing twice does nothing."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _connected(self) -> grpc.aio.Channel:
        """The channel, made at the first call: only then is it known which event loop runs."""
        self._check_open()
        if self._channel is None:
            self._channel = open_async_channel(self._connection, self._credentials)
            self._classifier = ClassifierServiceStub(self._channel)
        return self._channel

    def _stub(self) -> "ClassifierServiceAsyncStub":
        self._connected()
        return self._classifier

    async def _call(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]", request: Request, timeout: float | None
    ) -> Response:
        span = self._span(request)
        with self._errors(timeout), span.ending():
            return await method(request, **self._options(timeout, span))

    @contextmanager
    def _errors(self, timeout: float | None) -> Iterator[None]:
        """Turns what calls raise into the client's errors."""
        try:
            with service_errors(self.target, self._seconds(timeout)):
                yield
        except asyncio.CancelledError as error:  # from gRPC when the client is closed, from asyncio for the task
            if not self._closed or _is_cancelled(asyncio.current_task()):
                raise
            raise closed_error(self.target) from error

    async def _predict(
        self, images: Iterable[ImageSource] | AsyncIterable[ImageSource], plan: Plan
    ) -> AsyncGenerator[Prediction]:
        done = 0
        async with aclosing(self._answers(images, plan)) as answers:
            async for predictions in answers:
                done += len(predictions)
                plan.report(done)
                for prediction in predictions:
                    yield prediction

    async def _answers(
        self, images: Iterable[ImageSource] | AsyncIterable[ImageSource], plan: Plan
    ) -> AsyncGenerator[list[Prediction]]:
        chunker = plan.chunker(await self.model(plan.model, timeout=plan.timeout), self._connection.max_message_bytes)
        in_flight: deque[Flight] = deque()
        try:
            async with aclosing(_requests(images, chunker, plan.preparation)) as requests:
                async for request in requests:
                    in_flight.append(self._send(request, plan.timeout))
                    while in_flight and (len(in_flight) >= IN_FLIGHT or in_flight[0].call.done()):
                        yield await self._land(in_flight.popleft(), plan.timeout)
            while in_flight:
                yield await self._land(in_flight.popleft(), plan.timeout)
            chunker.raise_failure()
        finally:
            for flight in in_flight:
                flight.call.cancel()
                flight.span.cancel()

    def _send(self, request: pb.ClassifyRequest, timeout: float | None) -> Flight:
        span = self._span(request)
        call = self._stub().Classify(request, **self._options(timeout, span))
        call.add_done_callback(span.landed)
        return Flight(call, wire.image_count(request), span)

    async def _land(self, flight: Flight, timeout: float | None) -> list[Prediction]:
        with self._errors(timeout), flight.span.ending():
            response = await flight.call
        return wire.read_predictions(response, flight.images)


def _is_cancelled(task: asyncio.Task[Any] | None) -> bool:
    return task is not None and task.cancelling() > 0


async def _requests(
    images: Iterable[ImageSource] | AsyncIterable[ImageSource], chunker: Chunker, preparation: Preparation
) -> AsyncGenerator[pb.ClassifyRequest]:
    """The requests for all images; a failing image ends them, and what came before it is still asked for."""
    try:
        async with aclosing(_each(images)) as each:
            async for image in each:
                for request in chunker.add(await asyncio.to_thread(wire.read_image, image, preparation)):
                    yield request
    except Exception as error:
        chunker.failure = error
    for request in chunker.rest():
        yield request


async def _each(images: Iterable[ImageSource] | AsyncIterable[ImageSource]) -> AsyncGenerator[ImageSource]:
    if not isinstance(images, AsyncIterable):
        for image in images:
            yield image
        return
    try:
        async for image in images:
            yield image
    finally:
        if isinstance(images, AsyncGenerator):  # left to itself, it would be closed some time later
            await images.aclose()
