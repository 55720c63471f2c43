"""One HTTP request and its answer. It knows how parts arrive and leave, and no message's meaning."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from google.rpc import code_pb2, status_pb2

from vitrine.server.frontends.asgi.events import Event, Receive, Scope, Send, body
from vitrine.server.frontends.asgi.methods import Method
from vitrine.server.frontends.asgi.request_body import RequestBody
from vitrine.server.frontends.asgi.wires import OK, Wire
from vitrine.server.inference.connections import Connections
from vitrine.server.inference.rate_limit import caller_at
from vitrine.server.protocols.compression import FORMATS

PART_BYTES = 256 << 10
"""The largest part of an answer. Each waits until the one before has left, so that an answer counts until then."""

SMALL_BYTES = 64 << 10
"""Bytes of an answer that is surely one part in any form."""

TOO_LATE = status_pb2.Status(code=code_pb2.DEADLINE_EXCEEDED, message="the caller's deadline is over")
LEAVING = status_pb2.Status(code=code_pb2.UNAVAILABLE, message="the server stops: try again")

FRONT_END = "asgi"
"""The front end's name in the account of connections."""

MAX_NAMES = 4096
"""Names of connections that are remembered, not to be put together for each request."""

WATCH_SECONDS = 0.25
"""Seconds that a call may take before its caller is watched."""


class Exchange:
    """A request whose method and form are known. Use it on one event loop, from the task that answers.

    Args:
        scope: the head of the request.
        headers: its headers; of those that come twice, the last.
        receive: gives the parts of its body.
        send: takes the parts of the answer.
        method: the method that is called.
        wire: the form that it is in.
        connections: the account of what connections hold.
    """

    __slots__ = (
        "_complete", "_deadline", "_ending", "_gone", "_receive", "_send", "_since", "_started",
        "_task", "_watch", "body", "connection", "cut_off", "encoding", "headers", "method", "scope", "wire",
    )  # fmt: skip

    def __init__(
        self,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        send: Send,
        method: Method,
        wire: Wire,
        connections: Connections,
    ) -> None:
        self.scope, self.headers, self.method, self.wire = scope, headers, method, wire
        self.connection = connection = connections.at(name_of(scope), network_of, FRONT_END)
        """The connection that it came by."""
        connection.calls += 1
        self.encoding = headers.get(wire.encoding_header, b"identity")
        """The compression of the request's messages."""
        encoding = self.encoding if self.encoding in FORMATS else b""
        self._task: asyncio.Task[Any] | None = asyncio.current_task()
        self.body = RequestBody(receive, wire, method.max_bytes, encoding, connections, connection, self._task)
        self.cut_off: status_pb2.Status | None = None
        """Why the server ended the call before its answer; None: it didn't."""
        self._receive, self._send = receive, send
        self._started = self._ending = self._complete = self._gone = False
        self._since = time.monotonic()
        self._watch: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def broken(self) -> bool:
        """A part of the answer has left, the rest never will, and its caller waits for it."""
        return self._started and not (self._complete or self._gone)

    def end_in(self, seconds: float) -> None:
        """Sets the deadline of the call."""
        self._deadline = asyncio.get_running_loop().call_later(seconds, self.end_early, TOO_LATE)

    def end_early(self, status: status_pb2.Status) -> None:
        """Cancels the task that answers; its caller gets this status."""
        if self._task is not None and self.cut_off is None:
            self.cut_off = status
            self._task.cancel()

    def break_off(self) -> None:
        """Cancels the task that answers, where a part of the answer has left: the rest isn't read."""
        if self._task is not None and self.broken:
            self._task.cancel()

    def look_after(self, now: float) -> None:
        """Watches whether the caller is still there, once the call has taken a while.

        Args:
            now: the time, in seconds of `time.monotonic`.
        """
        if self.body.ended and self._watch is None and now - self._since > WATCH_SECONDS:
            self._watch = asyncio.ensure_future(self._watch_caller())

    async def _watch_caller(self) -> None:
        """Cancels the task that answers when its caller goes.

        Some hosts give an event only then, others one at once that says nothing: those are asked again later.
        """
        received = self._receive()
        if isinstance(received, asyncio.Future):  # its host sets its result, and logs an error if it was cancelled
            received = asyncio.shield(received)
        event = await received
        if event["type"] == "http.disconnect" and self._task is not None:
            self._gone = True
            self._task.cancel()
        self._watch = None

    def close(self) -> None:
        """Ends the deadline and the watch. The exchange must not be used after that."""
        self._task = None
        self.body.close()
        self.connection.calls -= 1
        if self._deadline is not None:
            self._deadline.cancel()
        if self._watch is not None:
            self._watch.cancel()

    async def answer(self, part: bytes) -> None:
        """Sends a whole answer of one encoded message."""
        self._leaves(len(part))
        events = self.wire.answer(part)
        if len(part) > SMALL_BYTES:
            await self._finish(events)
            return
        self._started = self._ending = True
        for event in events:
            await self._send(event)
        self._complete = True

    async def write(self, part: bytes) -> None:
        """Sends one encoded message of a stream."""
        await self._begin()
        self._leaves(len(part))
        await self._send_parts(part, more=True)
        if self.body.transfer is not None:
            self.body.transfer.left()

    async def end(self) -> None:
        """Ends a stream."""
        await self._begin()
        await self._finish(self.wire.end(OK, ""))

    async def fail(self, status: status_pb2.Status, request_id: str) -> None:
        """Ends the answer with a status, whether it has begun or not; does nothing where it is ending already."""
        if not self._ending:
            wire = self.wire
            await self._finish(wire.end(status, request_id) if self._started else wire.refuse(status, request_id))

    def _leaves(self, size: int) -> None:
        """Bounds the time that an answer takes to leave."""
        if self.body.transfer is not None:
            self.body.transfer.leaving(size)

    async def _begin(self) -> None:
        if not self._started:
            self._started = True
            await self._send(self.wire.head())

    async def _finish(self, events: Sequence[Event]) -> None:
        self._started = self._ending = True
        for event in events:
            if len(event.get("body", b"")) > PART_BYTES:
                await self._send_parts(event["body"], more=event["more_body"])
            else:
                await self._send(event)
        self._complete = True

    async def _send_parts(self, data: bytes, *, more: bool) -> None:
        last = max(0, len(data) - 1) // PART_BYTES * PART_BYTES
        for begin in range(0, last, PART_BYTES):
            await self._send(body(data[begin : begin + PART_BYTES], more=True))
        await self._send(body(data[last:], more=more))


def name_of(scope: Scope) -> str:
    """The name of a request's connection: the address at its other end."""
    return _name_at(*(scope.get("client") or ("", 0)))


@lru_cache(maxsize=MAX_NAMES)
def _name_at(host: str, port: int) -> str:
    return f"{FRONT_END}:{host.removeprefix('::ffff:')}:{port}"


def network_of(name: str) -> str:
    """The host of a connection, by the name of that, as callers are told apart by it: of IPv6 its network."""
    return caller_at(name.removeprefix(f"{FRONT_END}:").rpartition(":")[0])
