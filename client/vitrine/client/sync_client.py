"""The blocking client, `Client`. Its sibling in `async_client` is the same with `await`.

It sends calls, waits for them and keeps several under way. Their content is the business of `wire`.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from vitrine.client import wire
from vitrine.client.asking import Questions
from vitrine.client.base import IN_FLIGHT, LOOKUPS, BaseClient, Deadline
from vitrine.client.batches import Batch, Batcher, Outcome, batches_for, batches_without
from vitrine.client.catalogue import Description, is_outdated, is_outdated_shape, undescribed
from vitrine.client.connection import open_channel
from vitrine.client.errors import AnswerError, NotFoundError, ServiceError, closed_error, service_errors
from vitrine.client.gathering import ApartError
from vitrine.client.interventions import Intervention
from vitrine.client.parameter_parts import ParameterParts
from vitrine.client.plan import Plan, Progress
from vitrine.client.sync_gathering import Gatherer
from vitrine.client.sync_resending import Resent
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

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response")


@dataclass(frozen=True, slots=True)
class Sending:
    """A call that is under way."""

    future: Resent[pb.ClassifyResponse]
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
        return self.sending is None or self.sending.future.done()

    def cancel(self) -> None:
        """Cancels the call."""
        if self.sending is not None:
            self.sending.future.cancel()
            self.sending.span.cancel()


class Client(BaseClient):
    """A client that classifies images and gets the activations of every layer; threads may share one.

    It takes the arguments of `BaseClient` and connects at its first call. Close it with `close` or at the end of a
    `with` block. It asks for the description of a model before the first classification and remembers it. If a newer
    version takes the model's place, it asks again by itself.

    Every method raises a `ServiceError` if its call fails, and a `UsageError` if the client is closed.
    """

    def _open(self) -> None:
        self._channel = open_channel(self._connection, self._credentials)
        self._stub = ClassifierServiceStub(self._channel)
        largest = self._connection.max_message_bytes
        self._gatherer = Gatherer(self.target, largest, self._classify_one, self._begin, self._read_shared)
        self._closing = threading.Event()
        self._questions = Questions(self.target)

    def classify(
        self,
        image: ImageSource,
        *,
        activations: Wanted = "all",
        interventions: Iterable[Intervention] = (),
        model: str = "",
        preparation: Preparation = "local",
        timeout: float | None = None,
    ) -> Prediction:
        """Classifies one image.

        Calls of several threads travel together: a call goes at once if none is under way, and what comes meanwhile
        shares the next request, if model and layers are the same. Each keeps its own deadline and error. Files that the
        server prepares travel alone.

        Args:
            image: a path, the bytes of an image file, an open binary file, a PIL image, or an array (H, W),
                (H, W, 3) or (H, W, 4), usually of uint8.
            activations: the layers whose activations are wanted: "all", one name, several names, or None.
            interventions: changes of activations while the model runs, in this order, made by `zero`, `scale` and
                `set_units`. The prediction is then that of the changed model, and its `baseline` the untouched one.
            model: `NAME` or `NAME@VERSION` of a served model; empty: the default model.
            preparation: the place where the image becomes pixels. "local": here, so that only the pixels are sent
                (324 bytes for digits). "server": there; the image is then a path or bytes. "none": the image is pixels
                already, a uint8 array of the shape of `model().input`, 0 = white, 255 = black.
            timeout: deadline in seconds, which includes the question for the model's description, and not the time to
                prepare the image here; None: the client's.

        Raises:
            ImageError: the image can't be read, or `preparation` doesn't take this kind of image.
            InvalidRequestError: the server refuses the request: for example, an unknown layer or unit.
            NotFoundError: there is no such model.
            UsageError: something else than interventions is among them.
        """
        read = wire.read_image(image, preparation, self._max_image_pixels)
        plan = self._plan_for_one(activations, model, preparation, timeout, interventions)
        return with_image(self._classify(read, plan), image)

    @overload
    def classify_many(
        self,
        images: Iterable[ImageSource],
        *,
        activations: Wanted = "all",
        interventions: Iterable[Intervention] = (),
        model: str = "",
        preparation: Preparation = "local",
        timeout: float | None = None,
        progress: Progress | None = None,
        return_exceptions: Literal[False] = False,
    ) -> Generator[Prediction]: ...

    @overload
    def classify_many(
        self,
        images: Iterable[ImageSource],
        *,
        activations: Wanted = "all",
        interventions: Iterable[Intervention] = (),
        model: str = "",
        preparation: Preparation = "local",
        timeout: float | None = None,
        progress: Progress | None = None,
        return_exceptions: bool,
    ) -> Generator[Outcome]: ...

    def classify_many(
        self,
        images: Iterable[ImageSource],
        *,
        activations: Wanted = "all",
        interventions: Iterable[Intervention] = (),
        model: str = "",
        preparation: Preparation = "local",
        timeout: float | None = None,
        progress: Progress | None = None,
        return_exceptions: bool = False,
    ) -> Generator[Prediction] | Generator[Outcome]:
        """Classifies any number of images, in order, in requests as large as the server's limits allow.

        Several requests are under way at once, so that images are prepared while the server works. Memory stays bounded
        for any number of images. Nothing is read or sent before the first prediction is taken. `close` on the
        predictions cancels the requests under way. If an image can't be read, the predictions of the images before it
        come first, then its error; with `return_exceptions`, the error takes the place of its prediction, and the
        images behind it are classified, too. The error's text begins with the image's place: `images[2]: …`.

        A model of another shape, or a server of other limits, may take over meanwhile: images are prepared again for
        it. (Not those that are kept nowhere: files that can be read only once, and more than 16 MiB of images in one
        request.)

        Args:
            images: the images, each as in `classify`; an array (N, H, W), (N, H, W, 3) or (N, H, W, 4) is N images.
            activations: the layers whose activations are wanted, as in `classify`. None is faster for many images:
                those of all layers have several kilobytes an image.
            interventions: changes of activations in the run of each image, as in `classify`.
            model: `NAME` or `NAME@VERSION` of a served model; empty: the default model.
            preparation: the place where the images become pixels, as in `classify`.
            timeout: deadline of each request in seconds; None: the client's.
            progress: called with the number of images that are done, after each request's answer.
            return_exceptions: True gives an `ImageError` or `InvalidRequestError` in the place of the prediction of an
                image that can't be read, instead of raising it.

        Raises:
            UsageError: `images` is a single image.
            ImageError: while iterating, as in `classify`.
            ServiceError: while iterating; the requests under way are cancelled.
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

    def explain(
        self,
        image: ImageSource,
        digit: int | str | None = None,
        *,
        method: AttributionMethod = "contributions",
        model: str = "",
        preparation: Preparation = "local",
        timeout: float | None = None,
    ) -> Explanation:
        """Divides the score of a class among the pixels of one image, exactly.

        A network of linear and ReLU layers is linear around each image. So the score, the class's activation before
        softmax or sigmoid, is the sum of pixel × product of the active weights, plus the biases' share.

        Args:
            image: the image, as in `classify`.
            digit: the class to explain, by its label; None: the predicted one.
            method: "contributions": each pixel times the product of the active weights. With the bias, they add up to
                the score within 1e-4. "gradient_times_input": each pixel times its gradient (Shrikumar et al. 2016,
                arXiv:1605.01713), the same numbers for such networks. "integrated_gradients": each pixel times its
                mean gradient between a white page and the image (Sundararajan et al. 2017, arXiv:1703.01365), by the
                midpoint rule with 64 steps.
            model: `NAME` or `NAME@VERSION` of a served model; empty: the default model.
            preparation: the place where the image becomes pixels, as in `classify`.
            timeout: deadline in seconds, as in `classify`; None: the client's.

        Raises:
            ImageError: the image can't be read.
            UsageError: there is no such method, or the model has no such class.
            PermissionDeniedError: the token lacks the permission `attribution`.
            UnsupportedError: the server is older than explanations.
        """
        wire.check_method(method)
        read = wire.read_image(image, preparation, self._max_image_pixels)
        plan = self._plan_for_one(None, model, preparation, timeout)

        def send(payload: Payload, described: Model, deadline: Deadline) -> Explanation:
            request = wire.build_explain(payload, digit, method, plan.name, preparation, described)
            response = self._call(self._stub.Explain, request, deadline)
            description = self._description_of(response.model, plan, deadline)
            return wire.read_explanation(response, payload, method, description)

        return self._prepared(read, plan, send)

    def model(self, name: str = "", *, timeout: float | None = None) -> Model:
        """Asks for the description of a model: input, layers, classes, limits, training. Empty: the default model.

        Raises:
            NotFoundError: there is no such model.
        """
        wire.check_text(name)
        return self._ask(name, self._deadline(timeout)).complete_model

    def models(self, *, timeout: float | None = None) -> tuple[ModelSummary, ...]:
        """Lists the models that are served, and the versions that failed to load."""
        return wire.read_summaries(self._call(self._stub.ListModels, pb.ListModelsRequest(), self._deadline(timeout)))

    def parameters(self, layer: str, model: str = "", *, timeout: float | None = None) -> Parameters:
        """Gets the parameters of a linear layer: weight and bias. A large layer comes in several answers.

        Raises:
            InvalidRequestError: there is no such layer, or it stores no parameters.
            NotFoundError: there is no such model.
        """
        wire.check_text(model)
        wire.check_text(layer)
        parts, deadline = ParameterParts(layer, model, self._connection.max_message_bytes), self._deadline(timeout)
        while True:
            if found := parts.add(self._call(self._stub.GetParameters, parts.request, deadline)):
                return found

    def health(self, *, timeout: float | None = None) -> Health:
        """Asks for the server's health. An `UnavailableError` means that no server answers."""
        self._check_open()
        check = self._channel.unary_unary(
            wire.HEALTH_CHECK,
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )
        return wire.read_health(self._call(check, health_pb2.HealthCheckRequest(), self._deadline(timeout)))

    def close(self) -> None:
        """Closes the connection; calls under way are cancelled. Closing twice does nothing."""
        self._closed = True
        self._closing.set()
        self._gatherer.close()
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _classify(self, image: ImageSource | ReadImage, plan: Plan) -> Prediction:
        """Classifies one image."""

        def send(payload: Payload, model: Model, deadline: Deadline) -> Prediction:
            return self._send_one(payload, plan, model, deadline)

        return self._prepared(image, plan, send)

    def _prepared(
        self, image: ImageSource | ReadImage, plan: Plan, send: Callable[[Payload, Model, Deadline], Response]
    ) -> Response:
        """Prepares one image and sends it; again if the model has another shape by now than the client remembers."""
        deadline = Deadline.after(plan.timeout)
        description = self._find(image, plan) or self._ask_once(plan.name, deadline)
        while True:
            payload = self._prepare(image, plan, description.model, deadline)
            try:
                return send(payload, description.model, deadline)
            except ServiceError as error:
                self._heed(error, plan, description.model)
                if not is_outdated_shape(error):
                    raise
                outdated, description = description, self._describe(plan.name, deadline)
                if description.model.input == outdated.model.input:
                    raise

    def _send_one(self, payload: Payload, plan: Plan, model: Model, deadline: Deadline) -> Prediction:
        """Classifies one image: together with those of other threads, or alone where that isn't possible."""
        self._check_open()
        if plan.may_share:
            with suppress(ApartError):
                return self._gatherer.classify(payload, plan, model, deadline, self._span())
        return self._classify_one(plan.request([payload], model), plan, deadline, self._span())

    def _classify_one(self, request: pb.ClassifyRequest, plan: Plan, deadline: Deadline, span: CallSpan) -> Prediction:
        with self._errors(deadline), span:
            response = self._answer(self._stub.Classify, request, deadline, span)
        return self._read(response, 1, plan, deadline)[0]

    def _begin(self, request: pb.ClassifyRequest, deadline: Deadline, span: CallSpan) -> Resent[pb.ClassifyResponse]:
        """Sends a request, and doesn't wait."""
        self._check_open()
        resending = self._resending()

        def attempt() -> "grpc.Future[pb.ClassifyResponse]":
            with self._errors(deadline):
                return self._stub.Classify.future(request, **self._options(deadline.left, span))

        return Resent(attempt, lambda error: self._pause(error, resending, deadline), self._wait)

    def _read_shared(
        self, future: Future[pb.ClassifyResponse], count: int, plan: Plan, deadline: Deadline
    ) -> list[Prediction]:
        """The predictions of a shared request, which is over. It asks nothing, since gRPC's own thread waits for it."""
        with self._errors(deadline):
            response = future.result()
        identity = wire.read_identity(response.model)
        description = self._catalogue.find_version(identity, response.model.digest, plan.name)
        if description is None:
            raise ApartError(undescribed(identity, self.target))
        intervened = plan.interventions is not None
        return wire.read_predictions(response, count, description, apart=True, intervened=intervened)

    def _describe(self, name: str, deadline: Deadline) -> Description:
        """The description that is remembered under a name, or the server's."""
        return self._catalogue.find(name) or self._ask_once(name, deadline)

    def _ask_once(self, name: str, deadline: Deadline) -> Description:
        """The server's description of a model, asked for once for all threads that need it now."""
        return self._questions.ask(name, deadline, lambda: self._ask(name, deadline))

    def _ask(self, name: str, deadline: Deadline) -> Description:
        """The server's description of a model, which is remembered."""
        return self._keep(name, self._call(self._stub.GetModel, pb.GetModelRequest(model=name), deadline))

    def _read(self, response: pb.ClassifyResponse, count: int, plan: Plan, deadline: Deadline) -> list[Prediction]:
        """The predictions of an answer, by the description of the version that gave it."""
        description, intervened = self._description_of(response.model, plan, deadline), plan.interventions is not None
        try:
            return wire.read_predictions(response, count, description, intervened=intervened)
        except AnswerError:  # an older server, which sends no digest, may have replaced a version's file
            description = self._ask_for(wire.read_identity(response.model), response.model.digest, plan, deadline)
            return wire.read_predictions(response, count, description, intervened=intervened)

    def _description_of(self, answering: pb.ModelIdentity, plan: Plan, deadline: Deadline) -> Description:
        """The description of the version that answered: the one that is remembered, or the server's."""
        identity, digest = wire.read_identity(answering), answering.digest
        known = self._catalogue.find_version(identity, digest, plan.name)
        return known or self._ask_for(identity, digest, plan, deadline)

    def _ask_for(self, identity: ModelIdentity, digest: str, plan: Plan, deadline: Deadline) -> Description:
        """The server's description of the version that answered, which is remembered for the next requests."""
        for _ in range(LOOKUPS):
            with suppress(NotFoundError):
                description = self._ask_once(identity.label, deadline)
                if description.is_of(identity, digest):
                    return self._catalogue.keep(plan.name, description)
        raise undescribed(identity, self.target)

    def _call(
        self, method: "grpc.UnaryUnaryMultiCallable[Request, Response]", request: Request, deadline: Deadline
    ) -> Response:
        self._check_open()
        span = self._span(wire.method_of(request))
        with self._errors(deadline), span:
            return self._answer(method, request, deadline, span)

    def _answer(
        self,
        method: "grpc.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        deadline: Deadline,
        span: CallSpan,
    ) -> Response:
        """Sends a call, again where `Resending` says so, and waits for its answer."""
        resending = self._resending()
        while True:
            try:
                return method(request, **self._options(deadline.left, span))
            except grpc.RpcError as error:
                if (pause := self._pause(error, resending, deadline)) is None:
                    raise
            self._wait(pause)

    def _wait(self, seconds: float) -> None:
        """Waits before a call is sent again; raises the error of a client that is closed meanwhile."""
        if self._closing.wait(seconds):
            raise closed_error(self.target)

    @contextmanager
    def _errors(self, deadline: Deadline) -> Iterator[None]:
        """Turns the errors of calls into the client's errors."""
        try:
            with service_errors(self.target, deadline.seconds):
                yield
        except ValueError:  # gRPC's error for a channel that another thread has closed meanwhile
            self._check_open()
            raise
        except ServiceError as error:
            self._explain_closing(error)
            raise

    def _predict(self, images: Iterable[ImageSource], plan: Plan) -> Generator[Any]:
        done = 0
        with closing(self._answers(iter(images), plan)) as answers:
            for outcomes in answers:
                done += len(outcomes)
                plan.report(done)
                yield from outcomes

    def _answers(self, images: Iterator[ImageSource], plan: Plan) -> Generator[Sequence[Outcome]]:
        position = 0
        if self._catalogue.find(plan.name) is not None:  # the first image alone shows whether it still holds
            for image in islice(images, 1):
                yield [self._classify_first(image, plan)]
                position = 1
        batcher = self._batcher(plan, self._describe(plan.name, Deadline.after(plan.timeout)), position)
        in_flight: deque[Flight] = deque()
        try:
            for batch in self._batches(images, batcher, plan):
                in_flight.append(self._send(batch, plan))
                while in_flight and (len(in_flight) >= IN_FLIGHT or in_flight[0].is_over):
                    yield from self._land(in_flight.popleft(), plan)
            while in_flight:
                yield from self._land(in_flight.popleft(), plan)
            batcher.raise_failure()
        finally:
            for flight in in_flight:
                flight.cancel()

    def _classify_first(self, image: ImageSource, plan: Plan) -> Outcome:
        try:
            return with_image(self._classify(image, plan), image)
        except VitrineError as error:
            return self._outcome_of_first(error, plan)

    def _batches(self, images: Iterator[ImageSource], batcher: Batcher, plan: Plan) -> Iterator[Batch]:
        """The batches of all images. A failing image ends them; the images before it are still classified."""
        try:
            for image in images:
                for batch in batcher.add(batcher.take(image)):
                    yield batch
                    yield from batcher.follow(self._catalogue.find(plan.name))  # an answer may have changed it
        except Exception as error:
            batcher.failure = error
        yield from batcher.rest()

    def _send(self, batch: Batch, plan: Plan) -> Flight:
        self._check_open()
        if not batch.sent:
            return Flight(batch)
        request = batch.request(plan)
        span, deadline = self._span(), Deadline.after(plan.timeout)
        future = self._begin(request, deadline, span)
        future.add_done_callback(span.landed)
        return Flight(batch, Sending(future, span, deadline))

    def _land(self, flight: Flight, plan: Plan) -> Generator[Sequence[Outcome]]:
        """The outcomes of a batch. If the server refuses it for a reason that can be mended, it is sent in parts."""
        waiting: deque[Batch] = deque()
        while True:
            try:
                predictions = self._predictions(flight, plan)
            except ServiceError as error:
                waiting.extendleft(reversed(self._instead(flight.batch, error, plan)))
            else:
                yield flight.batch.outcomes(predictions, plan)
            if not waiting:
                return
            flight = self._send(waiting.popleft(), plan)

    def _predictions(self, flight: Flight, plan: Plan) -> list[Prediction]:
        if (sending := flight.sending) is None:
            return []
        with self._errors(sending.deadline), sending.span:
            response = sending.future.result()
        return self._read(response, len(flight.batch.sent), plan, Deadline.after(plan.timeout))

    def _instead(self, batch: Batch, error: ServiceError, plan: Plan) -> list[Batch]:
        """The batches to send instead of one that the server refused; raises the error if there are none."""
        self._heed(error, plan, batch.model)
        batches = batches_without(batch, error)
        if batches is None and is_outdated(error):
            latest = self._describe(plan.name, Deadline.after(plan.timeout))
            batches = batches_for(batch, latest, plan, self._connection.max_message_bytes)
        if batches is None:
            raise error
        return batches
