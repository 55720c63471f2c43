"""The client for asyncio, `AsyncClient`: the sibling of `sync_client` with `await`.

It sends calls, awaits them and keeps several under way. Their content is the business of `wire`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from vitrine.client import wire
from vitrine.client.base import IN_FLIGHT, LOOKUPS, BaseClient, Deadline, Plan, Progress
from vitrine.client.catalogue import Description, is_outdated_shape, undescribed
from vitrine.client.chunks import Chunker
from vitrine.client.connection import open_async_channel
from vitrine.client.errors import AnswerError, NotFoundError, ServiceError, closed_error, service_errors
from vitrine.client.tracing import CallSpan
from vitrine.client.types import Health, Model, ModelIdentity, ModelSummary, Parameters, Prediction
from vitrine.client.wire import Preparation, ReadImage, Wanted
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
    """Its answer, once it has come."""
    images: int
    """Number of its images."""
    span: CallSpan
    """Its part of a trace."""
    deadline: Deadline
    """Its deadline."""


class AsyncClient(BaseClient):
    """`Client` with `await`: the same arguments, methods, results and errors, for one event loop.

    It can be made without an event loop and connects at its first call. Close it with `await close()` or at the end of
    an `async with` block. Images are prepared in a thread, so that the event loop stays free.
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
        wire.check_preparation(preparation)
        read: ImageSource | ReadImage = image
        is_first = self._catalogue.find(model) is None  # it is read before anything is sent
        if is_first or hasattr(image, "read"):  # otherwise when it is prepared, which may be twice
            read = await asyncio.to_thread(wire.read_image, image, preparation, self._max_image_pixels)
        plan = self._plan(activations, model, preparation, timeout)
        return await self._classify(read, plan)

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
        plan = self._plan(activations, model, preparation, timeout, progress)
        return self._predict(images, plan)

    async def model(self, name: str = "", *, timeout: float | None = None) -> Model:
        """Asks for the description of a model: see `Client.model`."""
        return (await self._ask(name, self._deadline(timeout))).complete_model

    async def models(self, *, timeout: float | None = None) -> tuple[ModelSummary, ...]:
        """Lists the models that are served, and the versions that failed to load."""
        deadline = self._deadline(timeout)
        return wire.read_summaries(await self._call(self._stub().ListModels, pb.ListModelsRequest(), deadline))

    async def parameters(self, layer: str, model: str = "", *, timeout: float | None = None) -> Parameters:
        """Gets the parameters of a linear layer: see `Client.parameters`."""
        request, deadline = pb.GetParametersRequest(model=model, layer=layer), self._deadline(timeout)
        return wire.read_parameters(await self._call(self._stub().GetParameters, request, deadline), layer)

    async def health(self, *, timeout: float | None = None) -> Health:
        """Asks for the server's health: see `Client.health`."""
        check = self._connected().unary_unary(
            wire.HEALTH_CHECK,
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )
        return wire.read_health(await self._call(check, health_pb2.HealthCheckRequest(), self._deadline(timeout)))

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
        """The channel, made at the first call, because a channel belongs to the event loop that runs then."""
        self._check_open()
        if self._channel is None:
            self._channel = open_async_channel(self._connection, self._credentials)
            self._classifier = ClassifierServiceStub(self._channel)
        return self._channel

    def _stub(self) -> "ClassifierServiceAsyncStub":
        self._connected()
        return self._classifier

    async def _classify(self, image: ImageSource | ReadImage, plan: Plan) -> Prediction:
        """Classifies one image; again if the model has another shape by now than the client remembers."""
        deadline = Deadline.after(plan.timeout)
        description = self._find(image, plan) or await self._ask(plan.name, deadline)
        while True:
            with deadline.paused():
                payload = await asyncio.to_thread(plan.payload, image, description.model)
            request = plan.request([payload], description.model)
            try:
                response = await self._call(self._stub().Classify, request, deadline)
                return (await self._read(response, 1, plan, deadline))[0]
            except ServiceError as error:
                self._heed(error, plan)
                if not is_outdated_shape(error):
                    raise
                outdated, description = description, await self._describe(plan.name, deadline)
                if description.model.input == outdated.model.input:
                    raise

    async def _describe(self, name: str, deadline: Deadline) -> Description:
        """The description that is remembered under a name, or the server's."""
        return self._catalogue.find(name) or await self._ask(name, deadline)

    async def _ask(self, name: str, deadline: Deadline) -> Description:
        """The server's description of a model, which is remembered."""
        return self._keep(name, await self._call(self._stub().GetModel, pb.GetModelRequest(model=name), deadline))

    async def _read(
        self, response: pb.ClassifyResponse, count: int, plan: Plan, deadline: Deadline
    ) -> list[Prediction]:
        """The predictions of an answer, by the description of the version that gave it."""
        identity, digest = wire.read_identity(response.model), response.model.digest
        known = self._catalogue.find_version(identity, digest, plan.name)
        description = known or await self._ask_for(identity, digest, plan, deadline)
        try:
            return wire.read_predictions(response, count, description)
        except AnswerError:  # an older server, which sends no digest, may have replaced a version's file
            return wire.read_predictions(response, count, await self._ask_for(identity, digest, plan, deadline))

    async def _ask_for(self, identity: ModelIdentity, digest: str, plan: Plan, deadline: Deadline) -> Description:
        """The server's description of the version that answered, which is remembered for the next requests."""
        for _ in range(LOOKUPS):
            with suppress(NotFoundError):
                description = await self._ask(identity.label, deadline)
                if description.is_of(identity, digest):
                    return self._catalogue.keep(plan.name, description)
        raise undescribed(identity, self.target)

    async def _call(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]", request: Request, deadline: Deadline
    ) -> Response:
        span = self._span(request)
        with self._errors(deadline), span.ending():
            return await method(request, **self._options(deadline.left, span))

    @contextmanager
    def _errors(self, deadline: Deadline) -> Iterator[None]:
        """Turns the errors of calls into the client's errors."""
        try:
            with service_errors(self.target, deadline.seconds):
                yield
        except asyncio.CancelledError as error:  # from gRPC if the client is closed, from asyncio for the task
            if not self._closed or _is_cancelled(asyncio.current_task()):
                raise
            raise closed_error(self.target) from error

    async def _predict(
        self, images: Iterable[ImageSource] | AsyncIterable[ImageSource], plan: Plan
    ) -> AsyncGenerator[Prediction]:
        done = 0
        async with aclosing(_each(images)) as each, aclosing(self._answers(each, plan)) as answers:
            async for predictions in answers:
                done += len(predictions)
                plan.report(done)
                for prediction in predictions:
                    yield prediction

    async def _answers(self, images: AsyncGenerator[ImageSource], plan: Plan) -> AsyncGenerator[list[Prediction]]:
        if self._catalogue.find(plan.name) is not None:  # the first image alone shows whether it still holds
            async for image in images:
                yield [await self._classify(image, plan)]
                break
        model = (await self._describe(plan.name, Deadline.after(plan.timeout))).complete_model
        chunker = plan.chunker(model, self._connection.max_message_bytes)
        in_flight: deque[Flight] = deque()
        try:
            async with aclosing(_requests(images, chunker, plan, model)) as requests:
                async for request in requests:
                    in_flight.append(self._send(request, plan))
                    while in_flight and (len(in_flight) >= IN_FLIGHT or in_flight[0].call.done()):
                        yield await self._land(in_flight.popleft(), plan)
            while in_flight:
                yield await self._land(in_flight.popleft(), plan)
            chunker.raise_failure()
        except ServiceError as error:
            self._heed(error, plan)
            raise
        finally:
            for flight in in_flight:
                flight.call.cancel()
                flight.span.cancel()

    def _send(self, request: pb.ClassifyRequest, plan: Plan) -> Flight:
        span, deadline = self._span(request), Deadline.after(plan.timeout)
        call = self._stub().Classify(request, **self._options(deadline.left, span))
        call.add_done_callback(span.landed)
        return Flight(call, wire.image_count(request), span, deadline)

    async def _land(self, flight: Flight, plan: Plan) -> list[Prediction]:
        with self._errors(flight.deadline), flight.span.ending():
            response = await flight.call
        return await self._read(response, flight.images, plan, Deadline.after(plan.timeout))


def _is_cancelled(task: asyncio.Task[Any] | None) -> bool:
    return task is not None and task.cancelling() > 0


async def _requests(
    images: AsyncGenerator[ImageSource], chunker: Chunker, plan: Plan, model: Model
) -> AsyncGenerator[pb.ClassifyRequest]:
    """The requests for all images. A failing image ends them; the images before it are still classified."""
    try:
        async for image in images:
            for request in chunker.add(await asyncio.to_thread(plan.payload, image, model)):
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
        if isinstance(images, AsyncGenerator):  # otherwise garbage collection would close it some time later
            await images.aclose()
