"""The common part of `Client` and `AsyncClient`: their configuration, deadlines, and descriptions of models."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NoReturn, Self

import grpc

from vitrine.client import wire
from vitrine.client.batches import Batcher, Outcome, bad_image
from vitrine.client.catalogue import Catalogue, Description, is_outdated
from vitrine.client.connection import (
    DEFAULT_MAX_MESSAGE_BYTES,
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT,
    TLS,
    CallOptions,
    Connection,
    call_options,
    channel_credentials,
    check_timeout,
    check_whole,
)
from vitrine.client.environment import target_or_default, tls_or_default, token_or_default
from vitrine.client.errors import CallCancelledError, ServiceError, UsageError, closed_error
from vitrine.client.interventions import Intervention, check_interventions
from vitrine.client.plan import Plan, Progress
from vitrine.client.resending import Resending
from vitrine.client.tracing import CallSpan, begin_span
from vitrine.client.types import Model
from vitrine.client.wire import Payload, Preparation, ReadImage, Wanted
from vitrine.model import MAX_IMAGE_PIXELS, MOST_IMAGE_PIXELS, ImageSource, VitrineError
from vitrine.v1 import classifier_pb2 as pb

IN_FLIGHT = 3
"""Requests of `classify_many` under way at once: one is calculated, one travels, one is prepared."""

LOOKUPS = 5
"""Number of times that the description of a version that answered is asked for. Behind a load balancer the question may
reach a replica that doesn't have this version yet."""

LEAST_SECONDS = 0.001
"""The deadline of a call whose time is over already: gRPC then fails it as usual."""

MOST_PLANS = 64
"""Number of plans above which they are forgotten: a program may give each call another timeout."""


@dataclass(slots=True)
class Deadline:
    """The deadline of one call of the client, which may take several calls on the wire."""

    seconds: float
    """Seconds for all of them; `math.inf`: no deadline."""
    end: float
    """The moment when they are over, on the monotonic clock."""

    @classmethod
    def after(cls, seconds: float) -> Self:
        """The deadline that begins now."""
        return cls(seconds, time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds left, above 0."""
        return max(self.end - time.monotonic(), LEAST_SECONDS)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Moves the end by the time that passes inside: preparing an image isn't the server's time."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.end += time.monotonic() - begin


class BaseClient:
    """The configuration of both clients.

    Args:
        target: HOST:PORT, or any other name that gRPC resolves (`dns:///…`, `unix:…`); None: that in the variable
            VITRINE_TARGET, or localhost:50051.
        timeout: deadline of each call in seconds, unless the call has its own; `math.inf`: no deadline.
        retries: number of times that a call is sent again if the server can't be reached, or dies before its answer
            has come, 0 to 4.
        tls: encryption of the connection: True, or a `TLS` with files; False: unencrypted. None: that of the variables
            VITRINE_CLIENT_TLS, …_TLS_CA, …_TLS_CERT, …_TLS_KEY and …_TLS_SERVER_NAME, or unencrypted without them.
        token: bearer token of every call; False: no token. None: that in the variable VITRINE_TOKEN, if the target is
            that of the environment, too. It is sent only over TLS or to this machine.
        max_message_bytes: largest accepted answer, in bytes.
        max_image_pixels: largest width × height of an image that this client prepares, up to 178 million.

    Raises:
        UsageError: these choices can't work, or would send the token unencrypted to another machine.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        retries: int = DEFAULT_RETRIES,
        tls: TLS | bool | None = None,
        token: str | Literal[False] | None = None,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
        max_image_pixels: int = MAX_IMAGE_PIXELS,
    ) -> None:
        check_whole("max_image_pixels", max_image_pixels, 1, MOST_IMAGE_PIXELS)
        self._max_image_pixels = max_image_pixels
        target, tls = target_or_default(target), tls_or_default(tls)
        token = token_or_default(token, target)
        self._connection = Connection(target, timeout, retries, tls, token, max_message_bytes)
        self._credentials = channel_credentials(tls)
        self._catalogue = Catalogue()
        self._plans: dict[tuple[object, ...], Plan] = {}
        self._closed = False
        self._open()

    def _open(self) -> None:
        """Makes the channel, if the client can do so at once."""

    @property
    def target(self) -> str:
        """Address of the server."""
        return self._connection.target

    def __reduce__(self) -> NoReturn:
        """Refuses to be copied or sent to another process: a connection belongs to the process that made it."""
        raise TypeError(f"a {type(self).__name__} can't be pickled or copied: make one in each process")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r}{', closed' if self._closed else ''})"

    def _seconds(self, timeout: float | None) -> float:
        """The deadline of one call in seconds: its own, or the client's."""
        if timeout is None:
            return self._connection.timeout
        check_timeout(timeout)
        return timeout

    def _plan(
        self,
        activations: Wanted,
        model: str,
        preparation: Preparation,
        timeout: float | None,
        progress: Progress | None = None,
        *,
        return_exceptions: bool = False,
        interventions: Iterable[Intervention] = (),
    ) -> Plan:
        wire.check_text(model)
        selection, seconds = wire.build_selection(activations), self._seconds(timeout)
        changes = wire.build_interventions(check_interventions(interventions))
        return Plan(
            selection,
            model,
            preparation,
            seconds,
            progress,
            self._max_image_pixels,
            return_exceptions,
            b"" if selection is None else selection.SerializeToString(deterministic=True),
            changes,
            b"" if changes is None else changes.SerializeToString(deterministic=True),
        )

    def _plan_for_one(
        self,
        activations: Wanted,
        model: str,
        preparation: Preparation,
        timeout: float | None,
        interventions: Iterable[Intervention] = (),
    ) -> Plan:
        """The plan of a call for one image: calls with the same arguments share one."""
        wanted = tuple(activations) if isinstance(activations, list) else activations
        changes = check_interventions(interventions) if interventions else ()
        if not (wanted is None or isinstance(wanted, str) or (isinstance(wanted, tuple) and _are_names(wanted))):
            return self._plan(wanted, model, preparation, timeout, interventions=changes)
        arguments = (wanted, model, preparation, timeout, changes)
        if (plan := self._plans.get(arguments)) is None:
            plan = self._plan(wanted, model, preparation, timeout, interventions=changes)
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            self._plans[arguments] = plan
        return plan

    def _batcher(self, plan: Plan, description: Description, position: int) -> Batcher:
        """Divides images, the first of which has this position, into batches for a model."""
        return Batcher(plan, description.complete_model, self._connection.max_message_bytes, position)

    def _outcome_of_first(self, error: VitrineError, plan: Plan) -> Outcome:
        """The outcome of the first of many images, whose classification failed; raises the error of anything else."""
        if (bad := bad_image(error, 0)) is None:
            raise error
        if plan.return_exceptions:
            return bad
        raise bad from error

    def _deadline(self, timeout: float | None) -> Deadline:
        """The deadline of a call that begins now."""
        return Deadline.after(self._seconds(timeout))

    def _explain_closing(self, error: ServiceError) -> None:
        """Raises the client's own error for a call that was cancelled because the client was closed."""
        if self._closed and isinstance(error, CallCancelledError):
            raise closed_error(self.target) from error

    def _options(self, timeout: float, span: CallSpan) -> CallOptions:
        """The options of a call on the wire."""
        return call_options(self._connection, timeout, span.metadata)

    def _resending(self) -> Resending:
        """The rule for one call, which begins now."""
        return Resending(self._connection.retries)

    def _pause(self, error: grpc.RpcError, resending: Resending, deadline: Deadline) -> float | None:
        """Seconds to wait before the next attempt; None: no further attempt."""
        return None if self._closed else resending.pause(error, deadline.left)

    def _span(self, method: str = wire.CLASSIFY) -> CallSpan:
        """The span of a call of a method."""
        return begin_span(method, self.target)

    def _keep(self, name: str, response: pb.GetModelResponse) -> Description:
        """Remembers a description under the name that it was asked for by, under NAME@VERSION, and for its file."""
        description = wire.read_description(response)
        self._catalogue.keep(description.key, description)
        self._catalogue.keep(description.model.label, description)
        return self._catalogue.keep(name, description)

    def _prepare(self, image: ImageSource | ReadImage, plan: Plan, model: Model, deadline: Deadline) -> Payload:
        """What is sent of an image. The time to prepare it isn't the server's."""
        if plan.is_prepared:
            return plan.payload(image, model)
        with deadline.paused():
            return plan.payload(image, model)

    def _find(self, image: ImageSource | ReadImage, plan: Plan) -> Description | None:
        """The description that is remembered; None if there is none, or if the image needs another one.

        The server is asked before pixels of another shape are refused: it may serve that shape by now.
        """
        known = self._catalogue.find(plan.name)
        return known if known is not None and wire.is_made_for(image, plan.preparation, known.model) else None

    def _heed(self, error: ServiceError, plan: Plan, model: Model) -> None:
        """Forgets the description that a call was made by, if it may have failed because that is outdated."""
        if is_outdated(error):
            self._catalogue.forget(plan.name, model)

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("this client is closed: make another one")


def _are_names(wanted: tuple[object, ...]) -> bool:
    return all(isinstance(name, str) for name in wanted)
