"""Gathers the calls of several threads: see `gathering` for its rules.

A call that goes at once is sent by its own thread, as if there were no other. A shared request belongs to no caller:
the thread that ends it gives each its outcome, and sends what has come meanwhile. A caller whose time is over takes
nothing from the others. When the last of them has left, the request is cancelled.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

from vitrine.client.base import Deadline
from vitrine.client.errors import closed_error, deadline_error
from vitrine.client.gathering import LONGEST_WAIT_SECONDS, Group, Groups, Seat, carry, failure_of, latest
from vitrine.client.plan import Plan
from vitrine.client.sync_resending import Resent
from vitrine.client.tracing import CallSpan
from vitrine.client.types import Model, Prediction
from vitrine.client.wire import Payload
from vitrine.v1 import classifier_pb2 as pb

MOST_UNDER_WAY = 1
"""Requests of a group under way from which on further threads wait. Woken threads call again one by one: with a second
request the first of them would always leave alone."""

Call = Callable[[pb.ClassifyRequest, Plan, Deadline, CallSpan], Prediction]
"""Sends a request of one image and waits for its answer."""

Begin = Callable[[pb.ClassifyRequest, Deadline, CallSpan], Resent[pb.ClassifyResponse]]
"""Sends a request, and doesn't wait."""

Read = Callable[[Future[pb.ClassifyResponse], int, Plan, Deadline], list[Prediction]]
"""Reads the answer, which has come, to a request of so many images."""


@dataclass(slots=True, eq=False)
class ThreadSeat(Seat):
    """One call's place in a shared request."""

    woken: threading.Lock = field(default_factory=threading.Lock)
    """Locked until there is an outcome. (A `threading.Event` takes ten times as long to make.)"""
    outcome: Prediction | Exception = field(init=False)
    """The prediction or the failure, once either is known."""
    shared: "Shared | None" = None
    """The request that carries it; None: it waits."""


@dataclass(slots=True, eq=False)
class Shared:
    """A request under way."""

    seats: list[ThreadSeat]
    """The calls."""
    left: int
    """Number of calls that wait for it."""
    future: Resent[pb.ClassifyResponse] | None = None
    """Its answer, once it has come."""


class Gatherer:
    """Gathers the calls of several threads.

    Args:
        target: address of the server, for errors.
        max_message_bytes: largest answer that the client takes.
        call: sends a request of one image and waits for its answer.
        begin: sends a request, and doesn't wait.
        read: reads the answer.
    """

    def __init__(self, target: str, max_message_bytes: int, call: Call, begin: Begin, read: Read) -> None:
        self._target, self._call, self._begin, self._read = target, call, begin, read
        self._groups: Groups[ThreadSeat] = Groups(target, MOST_UNDER_WAY, max_message_bytes)
        self._lock = threading.Lock()

    def classify(self, payload: Payload, plan: Plan, model: Model, deadline: Deadline, span: CallSpan) -> Prediction:
        """Classifies one image, together with those of other calls.

        Args:
            payload: its pixels, made for `model`.
            plan: the arguments of the call.
            model: the description of the model.
            deadline: the call's own deadline.
            span: the call's span, which ends with it.

        Raises:
            ServiceError: the request failed for a reason that concerns all its calls.
            ApartError: it failed for another reason; the call is to be sent alone.
        """
        seat: ThreadSeat | None = None
        with self._lock:
            group = self._groups.find(plan, model)
            if group.is_free:
                group.under_way += 1
            else:
                seat = ThreadSeat(payload, deadline, span)
                seat.woken.acquire()
                group.waiting.append(seat)
        if seat is not None:
            with span:
                return self._wait(group, seat)
        try:
            return self._call(plan.request([payload], model), plan, deadline, span)
        finally:
            self._depart(group)

    def close(self) -> None:
        """Ends the calls that wait; the channel ends those under way."""
        with self._lock:
            seats = self._groups.leave_all()
        self._settle(seats, [closed_error(self._target) for _ in seats])

    def _wait(self, group: Group[ThreadSeat], seat: ThreadSeat) -> Prediction:
        try:
            is_over = seat.woken.acquire(timeout=min(LONGEST_WAIT_SECONDS, seat.deadline.left))
            if not is_over:
                self._hurry(group, seat)
                is_over = seat.woken.acquire(timeout=min(seat.deadline.left, threading.TIMEOUT_MAX))
        except BaseException:  # Ctrl-C
            self._leave(group, seat)
            raise
        if not is_over:
            self._leave(group, seat)
            raise deadline_error(self._target, seat.deadline.seconds)
        if isinstance(seat.outcome, Exception):
            raise seat.outcome
        return seat.outcome

    def _leave(self, group: Group[ThreadSeat], seat: ThreadSeat) -> None:
        """Takes a call out of its request, which goes on for the others."""
        with self._lock:
            if (shared := seat.shared) is None:
                with suppress(ValueError):  # close() has taken it out
                    group.waiting.remove(seat)
                return
            shared.left -= 1
        if shared.left == 0 and shared.future is not None:
            shared.future.cancel()

    def _depart(self, group: Group[ThreadSeat]) -> None:
        """Sends what waits, after an answer."""
        with self._lock:
            group.under_way -= 1
            is_due = group.waiting and group.is_free
            shared = self._take(group) if is_due else None
        if shared is not None:
            self._send(group, shared)

    def _hurry(self, group: Group[ThreadSeat], seat: ThreadSeat) -> None:
        """Sends a call that still waits, and those that wait with it, although no answer has come."""
        with self._lock:
            shared = self._take(group) if seat.shared is None and group.waiting else None
        if shared is not None:
            self._send(group, shared)

    def _take(self, group: Group[ThreadSeat]) -> Shared:
        seats = group.take()
        group.under_way += 1
        shared = Shared(seats, len(seats))
        for seat in seats:
            seat.shared = shared
        return shared

    def _send(self, group: Group[ThreadSeat], shared: Shared) -> None:
        seats, until = shared.seats, latest(shared.seats)

        def land(future: Future[pb.ClassifyResponse]) -> None:
            self._depart(group)  # first, so that the server works while this answer is read
            try:
                self._settle(seats, self._read(future, len(seats), group.plan, until))
            except Exception as error:
                self._fail(seats, error)

        try:
            shared.future = self._begin(group.request(seats), until, carry(seats))
        except Exception as error:  # the client was closed
            self._fail(seats, error)
            self._depart(group)
        else:
            shared.future.add_done_callback(land)

    def _fail(self, seats: Sequence[ThreadSeat], error: Exception) -> None:
        """Gives each call its failure; none may wait for ever."""
        self._settle(seats, [failure_of(seat, error, len(seats), self._target) for seat in seats])

    def _settle(self, seats: Sequence[ThreadSeat], outcomes: Sequence[Prediction | Exception]) -> None:
        """Gives each call its outcome."""
        for seat, outcome in zip(seats, outcomes, strict=True):
            seat.outcome = outcome
            seat.woken.release()
