"""Gathers single images of concurrent calls into shared requests: who travels with whom, and when.

Images share a request if model, layers, interventions and the shape of their pixels are the same. A call that finds few
requests under way goes at once. What comes meanwhile waits for the next answer, and then travels together. So one
caller alone never waits, and the more callers there are, the fuller the requests.

A shared request settles what concerns all its calls. Any other failure sends each of them apart, as if it had never
been shared. This module knows neither threads nor event loops: `sync_gathering` and `async_gathering` do.
"""

import math
from collections import deque
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

import grpc

from vitrine.client.base import Deadline
from vitrine.client.batches import FRAME_BYTES, capacity_for
from vitrine.client.catalogue import is_outdated_shape
from vitrine.client.errors import (
    AnswerError,
    DeadlineError,
    InvalidRequestError,
    LimitError,
    ServerError,
    ServiceError,
    deadline_error,
)
from vitrine.client.plan import Plan
from vitrine.client.target import may_name_several
from vitrine.client.tracing import UNTRACED, CallSpan
from vitrine.client.types import Model
from vitrine.client.wire import Payload
from vitrine.model import Shape, VitrineError
from vitrine.v1 import classifier_pb2 as pb

LONGEST_WAIT_SECONDS = 0.01
"""Longest wait for an answer before the calls that wait travel all the same: a request may hang, or be far away."""

MOST_OVER_SEVERAL = 8
"""Requests of a group under way from which on further calls wait, where the target may name several servers.

With fewer, most servers would have nothing to do, and the one that answers last would get the largest requests.
"""

LEAST_OF_SEVERAL = 32
"""Fewest calls in each request where calls that wait together are divided: twice as many make two requests.

A request costs as much as about 20 calls. Undivided, all callers of a program would get their answers at once, and call
again at once: the server would wait for them, then they for the server.
"""

SLACK_SECONDS = 0.01
"""Deadlines that differ by less are one deadline: that of the request which carries the calls."""

MOST_GROUPS = 64
"""Number of groups above which idle ones are dropped."""

Key: TypeAlias = tuple[str, bytes, bytes, str, Shape]
"""Equal for calls that may share a request: model, layers, interventions, and name and shape of the input."""


class ApartError(Exception):
    """A shared request failed for a reason that may concern only some of its images: each is to be sent alone."""

    def __init__(self, error: VitrineError) -> None:
        super().__init__(str(error))
        self.code = getattr(error, "code", grpc.StatusCode.OK)
        """Status of the shared request."""


@dataclass(slots=True, eq=False)
class Seat:
    """One call's place in a shared request."""

    payload: Payload
    """Its pixels."""
    deadline: Deadline
    """Its own deadline."""
    span: CallSpan
    """Its part of its caller's trace."""


SeatT = TypeVar("SeatT", bound=Seat)


@dataclass(slots=True, eq=False)
class Group(Generic[SeatT]):
    """The calls that may share requests."""

    plan: Plan
    """The arguments of one of them; what requests need of it is the same for all."""
    model: Model
    """The description of the model that their pixels were made for."""
    capacity: int
    """Largest number of images in a request."""
    most: int
    """Number of requests under way from which on further calls wait."""
    waiting: deque[SeatT] = field(default_factory=deque)
    """The calls that wait, in the order of arrival."""
    under_way: int = 0
    """Number of requests under way."""

    @property
    def is_free(self) -> bool:
        """True if another request may leave at once."""
        return self.under_way < self.most

    @property
    def is_idle(self) -> bool:
        """True if no call waits or is under way."""
        return not self.waiting and not self.under_way

    def take(self) -> list[SeatT]:
        """The calls of the next request: its share of those that wait, within the server's limits."""
        count = len(self.waiting)
        requests = max(1, min(self.most - self.under_way, count // LEAST_OF_SEVERAL))
        return [self.waiting.popleft() for _ in range(min(self.capacity, math.ceil(count / requests)))]

    def request(self, seats: Sequence[SeatT]) -> pb.ClassifyRequest:
        """The request that carries these calls."""
        return self.plan.request([seat.payload for seat in seats], self.model)


class Groups(Generic[SeatT]):
    """The groups by what their calls have in common.

    Args:
        target: address of the server, or of several.
        most: number of requests of a group under way from which on further calls wait, if it is one server.
        max_message_bytes: largest answer that the client takes.
    """

    def __init__(self, target: str, most: int, max_message_bytes: int) -> None:
        self._most = max(most, MOST_OVER_SEVERAL) if may_name_several(target) else most
        self._max_message_bytes = max_message_bytes
        self._groups: dict[Key, Group[SeatT]] = {}
        self._latest: Group[SeatT] | None = None

    def find(self, plan: Plan, model: Model) -> Group[SeatT]:
        """The group of calls with these arguments, whose pixels were made for this model."""
        latest = self._latest
        if latest is not None and latest.plan is plan and latest.model is model:
            return latest
        key = (plan.name, plan.selection_key, plan.interventions_key, model.input.name, model.input.shape)
        group = self._groups.get(key)
        if group is None:
            self._drop_idle()
            group = self._groups[key] = Group(plan, model, self._capacity(plan, model), self._most)
        elif group.model is not model:  # asked for again: its limits may have changed
            group.model, group.capacity = model, self._capacity(plan, model)
        self._latest = group
        return group

    def leave_all(self) -> list[SeatT]:
        """Takes every call that waits out of its group."""
        seats = [seat for group in self._groups.values() for seat in group.waiting]
        for group in self._groups.values():
            group.waiting.clear()
        return seats

    def _capacity(self, plan: Plan, model: Model) -> int:
        capacity = capacity_for(model, plan, self._max_message_bytes)
        image_bytes = math.prod(model.input.shape) + FRAME_BYTES
        return max(1, min(capacity.images, capacity.payload_bytes // image_bytes))

    def _drop_idle(self) -> None:
        if len(self._groups) >= MOST_GROUPS:
            self._groups = {key: group for key, group in self._groups.items() if not group.is_idle}


def latest(seats: Sequence[Seat]) -> Deadline:
    """The deadline of the request that carries these calls: the latest of theirs."""
    return max((seat.deadline for seat in seats), key=lambda deadline: deadline.end)


def is_earlier(deadline: Deadline, latest: Deadline) -> bool:
    """True if a call's deadline is over so much before its request's that it must be watched by itself."""
    return latest.end - deadline.end > SLACK_SECONDS


def carry(seats: Sequence[Seat]) -> CallSpan:
    """The span whose trace the request continues: the first call's. The others' spans get a link to it."""
    first = seats[0].span
    if first is not UNTRACED:
        for seat in seats[1:]:
            seat.span.link(first)
    return first


def failure_of(seat: Seat, error: Exception, shared_by: int, target: str) -> Exception:
    """The failure of one call, whose request has failed.

    Args:
        seat: the call.
        error: the failure of the request.
        shared_by: the number of calls in the request.
        target: address of the server, for the text.
    """
    if shared_by == 1 or not isinstance(error, VitrineError):
        return error
    if _may_concern_one(error):
        return ApartError(error)
    if isinstance(error, DeadlineError):
        own: VitrineError = deadline_error(target, seat.deadline.seconds)
    else:
        own = copy(error)  # an exception that several callers raise would collect all their tracebacks
    own.__cause__ = error.__cause__
    return own


def _may_concern_one(error: VitrineError) -> bool:
    """True if the same request might succeed with fewer, or other, images."""
    if isinstance(error, ServiceError) and is_outdated_shape(error):
        return False
    if isinstance(error, LimitError):
        return error.retry_after is None
    return isinstance(error, (InvalidRequestError, ServerError, AnswerError))
