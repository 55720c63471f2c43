"""The client for asyncio, `AsyncClient`: the sibling of `sync_client` with `await`.

It sends calls, awaits them and keeps several under way. Their content is the business of `wire`.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from vitrine.client import wire
from vitrine.client.asking import AsyncQuestions
from vitrine.client.async_gathering import AsyncGatherer
from vitrine.client.base import IN_FLIGHT, LOOKUPS, BaseClient, Deadline
from vitrine.client.batches import Batch, Batcher, Outcome, batches_for, batches_without
from vitrine.client.catalogue import Description, is_outdated, is_outdated_shape, undescribed
from vitrine.client.connection import open_async_channel
from vitrine.client.errors import AnswerError, NotFoundError, ServiceError, closed_error, service_errors
from vitrine.client.gathering import ApartError
from vitrine.client.interventions import Intervention
from vitrine.client.parameter_parts import ParameterParts
from vitrine.client.plan import Plan, Progress
from vitrine.client.tracing import CallSpan
from vitrine.client.types import (
    AttributionMethod,
    Explanation,
    Health,
    Model,
    ModelIdentity,
    ModelSummary,
    Parameters,
    Prediction,
    with_image,
)
from vitrine.client.wire import Payload, Preparation, ReadImage, Wanted
from vitrine.model import ImageSource, VitrineError
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

if TYPE_CHECKING:
    from vitrine.v1.classifier_pb2_grpc import ClassifierServiceAsyncStub

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response")


@dataclass(frozen=True, slots=True)
class Connected:
    """The channel of one event loop."""

    channel: grpc.aio.Channel
    """The channel."""
    classifier: "ClassifierServiceAsyncStub"
    """The calls of the service over it."""
    gatherer: AsyncGatherer
    """Gathers the calls of this event loop."""
    questions: AsyncQuestions
    """Asks for descriptions."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the channel is closed."""

    async def pause(self, seconds: float) -> None:
        """Waits for so many seconds, or until the channel is closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.closing.wait()

    async def close(self) -> None:
        """Closes the channel, in its own event loop; calls under way are cancelled."""
        self.closing.set()
        self.gatherer.close()
        await self.channel.close()


@dataclass(frozen=True, slots=True)
class Sending:
    """A call that is under way."""

    call: asyncio.Task[pb.ClassifyResponse]
    """Its answer, once it has come."""
    span: CallSpan
    """Its part of a trace."""
    deadline: Deadline
    """Its deadline."""


@dataclass(frozen=True, slots=True)
class Flight:
    """A batch that is under way."""

    batch: Batch
    """The images."""
    sending: Sending | None = None
    """The call; None: no image of the batch can be sent."""

    @property
    def is_over(self) -> bool:
        """True once its outcomes are known."""
        return self.sending is None or self.sending.call.done()

    def cancel(self) -> None:
        """Cancels the call."""
        if self.sending is not None:
            self.sending.call.cancel()
            self.sending.span.cancel()


class AsyncClient(BaseClient):
    """`Client` with `await`: the same arguments, methods, results and errors.

    It can be made without an event loop, and connects at its first call in each event loop: a channel belongs to one.
    Close it with `await close()` or at the end of an `async with` block. Images are prepared in a thread, so that the
    event loop stays free.
    """

    def _open(self) -> None:
        self._connections: dict[asyncio.AbstractEventLoop, Connected] = {}  # not weak: a channel holds its loop
        self._lock = threading.Lock()

    async def classify(
        self,
        image: ImageSource,
        *,
        activations: Wanted = "all",
        interventions: Iterable[Intervention] = (),
        model: str = "",
        preparation: Preparation = "local",
        timeout: float | None = None,
    ) -> Prediction:
        """Classifies one image: see `Client.classify`.

        Calls of several tasks travel together: those of one turn of the event loop, and those that come while two
        requests are under way. So `asyncio.gather` over many calls costs a few requests. A task that is cancelled takes
        nothing from the others.
        """
        wire.check_preparation(preparation)
        read: ImageSource | ReadImage = image
        is_first = self._catalogue.find(model) is None  # it is read before anything is sent
        if preparation == "none":
            read = wire.read_image(image, preparation)
        elif is_first or hasattr(image, "read"):  # otherwise when it is prepared, which may be twice
            read = await asyncio.to_thread(wire.read_image, image, preparation, self._max_image_pixels)
        plan = self._plan_for_one(activations, model, preparation, timeout, interventions)
        return with_image(await self._classify(read, plan), image)

    @overload
    def classify_many(
        self,
        images: Iterable[ImageSource] | AsyncIterable[ImageSource],
        *,
        activations: Wanted = "all",
        interventions: Iterable[Intervention] = (),
        model: str = "",
        preparation: Preparation = "local",
        timeout: float | None = None,
        progress: Progress | None = None,
        return_exceptions: Literal[False] = False,
    ) -> AsyncGenerator[Prediction]: ...

    @overload
    def classify_many(
        self,
        images: Iterable[ImageSource] | AsyncIterable[ImageSource],
        *,
        activations: Wanted = "all",
        interventions: Iterable[Intervention] = (),
        model: str = "",
        preparation: Preparation = "local",
        timeout: float | None = None,
        progress: Progress | None = None,
        return_exceptions: bool,
    ) -> AsyncGenerator[Outcome]: ...

    def classify_many(
        self,
        images: Iterable[ImageSource] | AsyncIterable[ImageSource],
        *,
        activations: Wanted = "all",
        interventions: Iterable[Intervention] = (),
        model: str = "",
        preparation: Preparation = "local",
        timeout: float | None = None,
        progress: Progress | None = None,
        return_exceptions: bool = False,
    ) -> AsyncGenerator[Prediction] | AsyncGenerator[Outcome]:
        """Classifies any number of images, in order: see `Client.classify_many`.

        `images` may be async, too; an async generator is closed with the predictions (`aclose`) or at their end.
        """
        wire.check_preparation(preparation)
        wire.check_images(images)
        plan = self._plan(
            activations,
            model,
            preparation,
            timeout,
            progress,
            return_exceptions=return_exceptions,
            interventions=interventions,
        )
        return self._predict(images, plan)

    async def explain(
        self,
        image: ImageSource,
        digit: int | str | None = None,
        *,
        method: AttributionMethod = "contributions",
        model: str = "",
        preparation: Preparation = "local",
        timeout: float | None = None,
    ) -> Explanation:
        """Divides the score of a class among the pixels of one image, exactly: see `Client.explain`."""
        wire.check_method(method)
        read = await asyncio.to_thread(wire.read_image, image, preparation, self._max_image_pixels)
        plan = self._plan_for_one(None, model, preparation, timeout)

        async def send(payload: Payload, described: Model, deadline: Deadline) -> Explanation:
            request = wire.build_explain(payload, digit, method, plan.name, preparation, described)
            response = await self._call(self._stub().Explain, request, deadline)
            description = await self._description_of(response.model, plan, deadline)
            return wire.read_explanation(response, payload, method, description)

        return await self._prepared(read, plan, send)

    async def model(self, name: str = "", *, timeout: float | None = None) -> Model:
        """Asks for the description of a model: see `Client.model`."""
        wire.check_text(name)
        return (await self._ask(name, self._deadline(timeout))).complete_model

    async def models(self, *, timeout: float | None = None) -> tuple[ModelSummary, ...]:
        """Lists the models that are served, and the versions that failed to load."""
        deadline = self._deadline(timeout)
        return wire.read_summaries(await self._call(self._stub().ListModels, pb.ListModelsRequest(), deadline))

    async def parameters(self, layer: str, model: str = "", *, timeout: float | None = None) -> Parameters:
        """Gets the parameters of a linear layer: see `Client.parameters`."""
        wire.check_text(model)
        wire.check_text(layer)
        parts, deadline = ParameterParts(layer, model, self._connection.max_message_bytes), self._deadline(timeout)
        while True:
            if found := parts.add(await self._call(self._stub().GetParameters, parts.request, deadline)):
                return found

    async def health(self, *, timeout: float | None = None) -> Health:
        """Asks for the server's health: see `Client.health`."""
        check = self._connected().channel.unary_unary(
            wire.HEALTH_CHECK,
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )
        return wire.read_health(await self._call(check, health_pb2.HealthCheckRequest(), self._deadline(timeout)))

    async def close(self) -> None:
        """Closes the connection; calls under way are cancelled. Closing twice does nothing.

        Other event loops are told to close their channels, and not waited for: they may stand still.
        """
        with self._lock:
            self._closed = True
            connections, self._connections = self._connections, {}
        own = connections.pop(asyncio.get_running_loop(), None)
        for loop, connected in connections.items():
            with suppress(RuntimeError):  # it has been closed, and its channel goes with the last reference
                loop.call_soon_threadsafe(_close_here, connected)
        if own is not None:
            await own.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _connected(self) -> Connected:
        """The channel of the event loop that runs now, made at the first call in it."""
        self._check_open()
        loop = asyncio.get_running_loop()
        return self._connections.get(loop) or self._connect(loop)

    def _connect(self, loop: asyncio.AbstractEventLoop) -> Connected:
        """Opens the channel of an event loop, and drops those of loops that are over: see `asyncio.run`."""
        with self._lock:
            self._check_open()  # again: another thread may have closed the client since
            channel = open_async_channel(self._connection, self._credentials)
            gatherer = AsyncGatherer(loop, self.target, self._connection.max_message_bytes, self._exchange)
            connected = Connected(channel, ClassifierServiceStub(channel), gatherer, AsyncQuestions(self.target))
            going_on = {each: known for each, known in self._connections.items() if not each.is_closed()}
            self._connections = {**going_on, loop: connected}
        return connected

    def _stub(self) -> "ClassifierServiceAsyncStub":
        return self._connected().classifier

    def _classify(self, image: ImageSource | ReadImage, plan: Plan) -> Coroutine[None, None, Prediction]:
        """Classifies one image."""

        def send(payload: Payload, model: Model, deadline: Deadline) -> Awaitable[Prediction]:
            return self._send_one(payload, plan, model, deadline)

        return self._prepared(image, plan, send)

    async def _prepared(
        self,
        image: ImageSource | ReadImage,
        plan: Plan,
        send: Callable[[Payload, Model, Deadline], Awaitable[Response]],
    ) -> Response:
        """Prepares one image and sends it; again if the model has another shape by now than the client remembers."""
        deadline = Deadline.after(plan.timeout)
        description = self._find(image, plan) or await self._ask_once(plan.name, deadline)
        while True:
            if plan.is_prepared:
                payload = plan.payload(image, description.model)
            else:
                payload = await asyncio.to_thread(self._prepare, image, plan, description.model, deadline)
            try:
                return await send(payload, description.model, deadline)
            except ServiceError as error:
                self._heed(error, plan, description.model)
                if not is_outdated_shape(error):
                    raise
                outdated, description = description, await self._describe(plan.name, deadline)
                if description.model.input == outdated.model.input:
                    raise

    async def _send_one(self, payload: Payload, plan: Plan, model: Model, deadline: Deadline) -> Prediction:
        """Classifies one image: together with those of other tasks, or alone where that isn't possible."""
        if plan.may_share:
            try:
                return await self._connected().gatherer.classify(payload, plan, model, deadline, self._span())
            except ApartError:
                pass
        with self._span() as span:
            return (await self._exchange(plan.request([payload], model), 1, plan, deadline, span))[0]

    async def _exchange(
        self, request: pb.ClassifyRequest, count: int, plan: Plan, deadline: Deadline, span: CallSpan
    ) -> list[Prediction]:
        """Sends a request, and reads the predictions of its answer."""
        with self._errors(deadline):
            connected = self._connected()
            response = await self._answer(connected, connected.classifier.Classify, request, deadline, span)
        return await self._read(response, count, plan, deadline, apart=count > 1)

    async def _describe(self, name: str, deadline: Deadline) -> Description:
        """The description that is remembered under a name, or the server's."""
        return self._catalogue.find(name) or await self._ask_once(name, deadline)

    async def _ask_once(self, name: str, deadline: Deadline) -> Description:
        """The server's description of a model, asked for once for all tasks that need it now."""
        return await self._connected().questions.ask(name, deadline, lambda: self._ask(name, deadline))

    async def _ask(self, name: str, deadline: Deadline) -> Description:
        """The server's description of a model, which is remembered."""
        return self._keep(name, await self._call(self._stub().GetModel, pb.GetModelRequest(model=name), deadline))

    async def _read(
        self, response: pb.ClassifyResponse, count: int, plan: Plan, deadline: Deadline, *, apart: bool = False
    ) -> list[Prediction]:
        """The predictions of an answer, by the description of the version that gave it."""
        description = await self._description_of(response.model, plan, deadline)
        intervened = plan.interventions is not None
        try:
            return wire.read_predictions(response, count, description, apart=apart, intervened=intervened)
        except AnswerError:  # an older server, which sends no digest, may have replaced a version's file
            identity, digest = wire.read_identity(response.model), response.model.digest
            description = await self._ask_for(identity, digest, plan, deadline)
            return wire.read_predictions(response, count, description, apart=apart, intervened=intervened)

    async def _description_of(self, answering: pb.ModelIdentity, plan: Plan, deadline: Deadline) -> Description:
        """The description of the version that answered: the one that is remembered, or the server's."""
        identity, digest = wire.read_identity(answering), answering.digest
        known = self._catalogue.find_version(identity, digest, plan.name)
        return known or await self._ask_for(identity, digest, plan, deadline)

    async def _ask_for(self, identity: ModelIdentity, digest: str, plan: Plan, deadline: Deadline) -> Description:
        """The server's description of the version that answered, which is remembered for the next requests."""
        for _ in range(LOOKUPS):
            with suppress(NotFoundError):
                description = await self._ask_once(identity.label, deadline)
                if description.is_of(identity, digest):
                    return self._catalogue.keep(plan.name, description)
        raise undescribed(identity, self.target)

    async def _call(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]", request: Request, deadline: Deadline
    ) -> Response:
        span = self._span(wire.method_of(request))
        with self._errors(deadline), span:
            return await self._answer(self._connected(), method, request, deadline, span)

    async def _answer(
        self,
        connected: Connected,
        method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        deadline: Deadline,
        span: CallSpan,
    ) -> Response:
        """Sends a call, again where `Resending` says so, and awaits its answer.

        The channel is the one of the call's begin: the client may be closed before a task of it takes its first step.
        """
        resending = self._resending()
        while not connected.closing.is_set():
            try:
                return await method(request, **self._options(deadline.left, span))
            except grpc.RpcError as error:
                if (pause := self._pause(error, resending, deadline)) is None:
                    raise
            await connected.pause(pause)
        raise closed_error(self.target)

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
    ) -> AsyncGenerator[Any]:
        done = 0
        async with aclosing(_each(images)) as each, aclosing(self._answers(each, plan)) as answers:
            async for outcomes in answers:
                done += len(outcomes)
                plan.report(done)
                for outcome in outcomes:
                    yield outcome

    async def _answers(self, images: AsyncGenerator[ImageSource], plan: Plan) -> AsyncGenerator[Sequence[Outcome]]:
        position = 0
        if self._catalogue.find(plan.name) is not None:  # the first image alone shows whether it still holds
            async for image in images:
                yield [await self._classify_first(image, plan)]
                position = 1
                break
        batcher = self._batcher(plan, await self._describe(plan.name, Deadline.after(plan.timeout)), position)
        in_flight: deque[Flight] = deque()
        try:
            async with aclosing(self._batches(images, batcher, plan)) as batches:
                async for batch in batches:
                    in_flight.append(self._send(batch, plan))
                    while in_flight and (len(in_flight) >= IN_FLIGHT or in_flight[0].is_over):
                        async for outcomes in self._land(in_flight.popleft(), plan):
                            yield outcomes
            while in_flight:
                async for outcomes in self._land(in_flight.popleft(), plan):
                    yield outcomes
            batcher.raise_failure()
        finally:
            for flight in in_flight:
                flight.cancel()

    async def _classify_first(self, image: ImageSource, plan: Plan) -> Outcome:
        try:
            return with_image(await self._classify(image, plan), image)
        except VitrineError as error:
            return self._outcome_of_first(error, plan)

    async def _batches(
        self, images: AsyncGenerator[ImageSource], batcher: Batcher, plan: Plan
    ) -> AsyncGenerator[Batch]:
        """The batches of all images. A failing image ends them; the images before it are still classified."""
        try:
            async for image in images:
                item = batcher.take(image) if plan.is_prepared else await asyncio.to_thread(batcher.take, image)
                for batch in batcher.add(item):
                    yield batch
                    for left in batcher.follow(self._catalogue.find(plan.name)):  # an answer may have changed it
                        yield left
        except Exception as error:
            batcher.failure = error
        for batch in batcher.rest():
            yield batch

    def _send(self, batch: Batch, plan: Plan) -> Flight:
        if not batch.sent:
            return Flight(batch)
        request = batch.request(plan)
        connected, span, deadline = self._connected(), self._span(), Deadline.after(plan.timeout)
        answer = self._answer(connected, connected.classifier.Classify, request, deadline, span)
        call = asyncio.create_task(answer)
        call.add_done_callback(span.landed)
        call.add_done_callback(_look_at)
        return Flight(batch, Sending(call, span, deadline))

    async def _land(self, flight: Flight, plan: Plan) -> AsyncGenerator[Sequence[Outcome]]:
        """The outcomes of a batch. If the server refuses it for a reason that can be mended, it is sent in parts."""
        waiting: deque[Batch] = deque()
        while True:
            try:
                predictions = await self._predictions(flight, plan)
            except ServiceError as error:
                waiting.extendleft(reversed(await self._instead(flight.batch, error, plan)))
            else:
                yield flight.batch.outcomes(predictions, plan)
            if not waiting:
                return
            flight = self._send(waiting.popleft(), plan)

    async def _predictions(self, flight: Flight, plan: Plan) -> list[Prediction]:
        if (sending := flight.sending) is None:
            return []
        with self._errors(sending.deadline), sending.span:
            response = await sending.call
        return await self._read(response, len(flight.batch.sent), plan, Deadline.after(plan.timeout))

    async def _instead(self, batch: Batch, error: ServiceError, plan: Plan) -> list[Batch]:
        """The batches to send instead of one that the server refused; raises the error if there are none."""
        self._heed(error, plan, batch.model)
        batches = batches_without(batch, error)
        if batches is None and is_outdated(error):
            latest = await self._describe(plan.name, Deadline.after(plan.timeout))
            batches = batches_for(batch, latest, plan, self._connection.max_message_bytes)
        if batches is None:
            raise error
        return batches


def _close_here(connected: Connected) -> None:
    """Closes a channel in the event loop that runs now."""
    closing = asyncio.ensure_future(connected.close())
    closing.add_done_callback(lambda _: closing)  # the loop itself holds tasks only weakly


def _look_at(call: asyncio.Task[Any]) -> None:
    """Asks for a call's failure, so that asyncio logs none that nobody waits for any more."""
    if not call.cancelled():
        call.exception()


def _is_cancelled(task: asyncio.Task[Any] | None) -> bool:
    return task is not None and task.cancelling() > 0


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
