"""Gathers the calls of one event loop: see `gathering` for its rules.

Calls of the same turn of the loop share a request, too. A request belongs to no caller: one that leaves, or whose time
is over, takes nothing from the others. When the last of them has left, the request is cancelled.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from vitrine.client.base import Deadline
from vitrine.client.errors import closed_error, deadline_error
from vitrine.client.gathering import (
    LONGEST_WAIT_SECONDS,
    Group,
    Groups,
    Seat,
    carry,
    failure_of,
    is_earlier,
    latest,
)
from vitrine.client.plan import Plan
from vitrine.client.tracing import CallSpan
from vitrine.client.types import Model, Prediction
from vitrine.client.wire import Payload
from vitrine.v1 import classifier_pb2 as pb

MOST_UNDER_WAY = 2
"""Requests of a group under way from which on further calls wait: one is calculated while the other travels."""

Exchange = Callable[[pb.ClassifyRequest, int, Plan, Deadline, CallSpan], Awaitable[list[Prediction]]]
"""Sends a request of so many images, and reads its answer."""


@dataclass(slots=True, eq=False)
class AsyncSeat(Seat):
    """One call's place in a shared request."""

    outcome: "asyncio.Future[Prediction]"
    """The prediction or the failure, once either is known."""
    shared: "Shared | None" = None
    """The request that carries it; None: it waits."""
    timer: asyncio.TimerHandle | None = None
    """Ends the call at its own deadline, where the request doesn't."""

    def settle(self, outcome: Prediction | Exception) -> None:
        """Gives the caller its outcome, unless it has one or has left."""
        if self.timer is not None:
            self.timer.cancel()
        if self.outcome.done():
            return
        if isinstance(outcome, Exception):
            self.outcome.set_exception(outcome)
        else:
            self.outcome.set_result(outcome)


class Shared:
    """A request under way."""

    __slots__ = ("left", "task")

    def __init__(self, count: int) -> None:
        self.left = count
        """Number of calls that wait for it."""
        self.task: asyncio.Task[None] | None = None
        """Sends it and awaits its answer; None until its first step."""

    def leave(self) -> None:
        """One call less; without any, the request is cancelled."""
        self.left -= 1
        if self.left == 0 and self.task is not None:
            self.task.cancel()


class AsyncGatherer:
    """Gathers the calls of one event loop.

    Args:
        loop: the event loop.
        target: address of the server, for errors.
        max_message_bytes: largest answer that the client takes.
        exchange: sends a request and reads its answer.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, target: str, max_message_bytes: int, exchange: Exchange
    ) -> None:
        self._loop, self._target, self._exchange = loop, target, exchange
        self._groups: Groups[AsyncSeat] = Groups(target, MOST_UNDER_WAY, max_message_bytes)
        self._called: set[Group[AsyncSeat]] = set()
        self._timers: dict[Group[AsyncSeat], asyncio.TimerHandle] = {}
        self._is_closed = False

    async def classify(
        self, payload: Payload, plan: Plan, model: Model, deadline: Deadline, span: CallSpan
    ) -> Prediction:
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
        loop, group = self._loop, self._groups.find(plan, model)
        with span:
            seat = AsyncSeat(payload, deadline, span, loop.create_future())
            group.waiting.append(seat)
            if group.is_free and group not in self._called:
                self._called.add(group)
                loop.call_soon(self._depart, group)  # with whatever else this turn of the loop brings
            elif not group.is_free and group not in self._timers:
                self._timers[group] = loop.call_later(LONGEST_WAIT_SECONDS, self._hurry, group)
            if deadline.left < LONGEST_WAIT_SECONDS:
                self._watch(seat)
            try:
                return await seat.outcome
            except BaseException:  # here alone, so that a call leaves once: it may be cancelled as its time is over
                self._leave(group, seat)
                raise

    def close(self) -> None:
        """Ends the calls that wait, and those whose request hasn't gone; the channel ends those under way."""
        self._is_closed = True
        for seat in self._groups.leave_all():
            seat.settle(closed_error(self._target))

    def _depart(self, group: Group[AsyncSeat]) -> None:
        """Sends what waits, as far as requests may leave."""
        self._called.discard(group)
        while group.waiting and group.is_free:
            self._send(group)
        if not group.waiting and (timer := self._timers.pop(group, None)) is not None:
            timer.cancel()

    def _hurry(self, group: Group[AsyncSeat]) -> None:
        """Sends what waits although no answer has come."""
        del self._timers[group]
        while group.waiting:
            self._send(group)

    def _send(self, group: Group[AsyncSeat]) -> None:
        seats = group.take()
        shared, until = Shared(len(seats)), latest(seats)
        for seat in seats:
            seat.shared = shared
            if is_earlier(seat.deadline, until):
                self._watch(seat)
        group.under_way += 1
        self._loop.create_task(self._carry(group, shared, seats, until))  # its first step makes `shared` hold it

    async def _carry(self, group: Group[AsyncSeat], shared: Shared, seats: list[AsyncSeat], until: Deadline) -> None:
        """Sends a request, and gives each call its outcome."""
        try:
            if shared.left == 0:
                return
            shared.task = asyncio.current_task()  # not before: a task that is cancelled first runs no `finally`
            if self._is_closed:
                raise closed_error(self._target)
            predictions = await self._exchange(group.request(seats), len(seats), group.plan, until, carry(seats))
        except asyncio.CancelledError:  # the last caller has left, or the loop ends
            for seat in seats:
                seat.outcome.cancel()
            raise
        except Exception as error:  # no caller may wait for ever
            for seat in seats:
                seat.settle(failure_of(seat, error, len(seats), self._target))
        else:
            for seat, prediction in zip(seats, predictions, strict=True):
                seat.settle(prediction)
        finally:
            group.under_way -= 1
            self._called.add(group)
            self._loop.call_soon(self._depart, group)  # behind the callers, who may call again

    def _watch(self, seat: AsyncSeat) -> None:
        """Ends a call at its own deadline."""
        if seat.timer is None and seat.deadline.left < math.inf:
            seat.timer = self._loop.call_later(seat.deadline.left, self._expire, seat)

    def _expire(self, seat: AsyncSeat) -> None:
        if not seat.outcome.done():
            seat.settle(deadline_error(self._target, seat.deadline.seconds))

    def _leave(self, group: Group[AsyncSeat], seat: AsyncSeat) -> None:
        """Takes a call out of its request, which goes on for the others."""
        if seat.timer is not None:
            seat.timer.cancel()
        if seat.shared is not None:
            seat.shared.leave()
        else:
            with suppress(ValueError):  # close() has taken it out
                group.waiting.remove(seat)
        if seat.outcome.done() and not seat.outcome.cancelled():
            seat.outcome.exception()  # asked for, so that asyncio logs no failure that nobody has seen
