"""Reads the messages of a request's body, which is bounded while it arrives. It knows no message's meaning."""

import asyncio
import binascii
from base64 import b64decode
from typing import Any

from vitrine.server.errors import InvalidRequest, RequestError, RequestTooLarge, Unsupported
from vitrine.server.frontends.asgi.events import Event, Receive
from vitrine.server.frontends.asgi.wires import Wire
from vitrine.server.inference.connections import Connection, Connections, Transfer
from vitrine.server.protocols.compression import unpacked

COMPRESSED = 1
"""The flag of an envelope whose message is compressed."""

PREFIX = 5
"""Bytes before a message in an envelope: its flags, and its length in four."""


class DisconnectedError(Exception):
    """The caller has gone."""


class RequestBody:
    """The body of a request.

    Args:
        receive: gives its parts.
        wire: the form that it is in.
        limit: the largest message, in bytes, compressed or not.
        encoding: the compression of messages; empty: they have none.
        connections: the account of what connections hold.
        connection: its connection.
        task: the task that reads it.
    """

    __slots__ = (
        "_connection", "_connections", "_decoded", "_encoding", "_ended_by", "_held", "_limit", "_receive", "_task",
        "_unread", "_wire", "ended", "transfer",
    )  # fmt: skip

    def __init__(
        self,
        receive: Receive,
        wire: Wire,
        limit: int,
        encoding: bytes,
        connections: Connections,
        connection: Connection,
        task: "asyncio.Task[Any] | None",
    ) -> None:
        self._receive, self._wire, self._limit, self._encoding = receive, wire, limit, encoding
        self._connections, self._connection = connections, connection
        self._unread = bytearray()
        self._held = 0
        self._decoded = False
        self._task = task
        self._ended_by: RequestError | None = None
        self.transfer: Transfer | None = None
        """The account of the message that arrives, or of the answer to the last one."""
        self.ended = False
        """All of it has arrived."""

    async def only_message(self) -> bytes:
        """The message of a request that has one.

        Raises:
            InvalidRequest: it has none, or several.
            RequestTooLarge: it is larger than the limit; the rest wasn't received.
            RequestTooSlow: it took too long to arrive.
            Unsupported: it is compressed, and the request doesn't say how.
            DisconnectedError: the caller has gone.
        """
        transfer = self._begin(streamed=False)
        try:
            message = self._whole_envelope(await self._receive())
            return await self._only_message() if message is None else message
        except asyncio.CancelledError:
            self._raise_end()
            raise
        finally:
            self._end(transfer)

    async def message(self) -> bytes | None:
        """The next message of a stream, which may be silent for long; None at its end.

        It raises as `only_message` does, and `Leaving` when the server leaves while nothing arrives.
        """
        transfer = self._begin(streamed=True)
        try:
            return await self._message()
        except asyncio.CancelledError:
            self._raise_end()
            raise
        finally:
            self._end(transfer)

    @property
    def arriving(self) -> bool:
        """A message is waited for."""
        return self.transfer is not None and self.transfer.arriving

    @property
    def since(self) -> float:
        """The moment at which the message in `transfer` began, in seconds of the account's clock; 0: there is none."""
        return 0.0 if self.transfer is None else self.transfer.since

    @property
    def held(self) -> int:
        """Bytes of it that are read and aren't taken."""
        return self._held

    def end(self, error: RequestError) -> None:
        """Ends the wait for a message with an error; does nothing where none is waited for."""
        if self._task is not None and self.arriving:
            self._ended_by = error
            self._task.cancel()

    def close(self) -> None:
        """Gives back what is held, and cuts circles: a request is let go without the garbage collector."""
        if self.transfer is not None:
            self.transfer.left()
        if self._held:
            self._unread = bytearray()
            self._hold()
        self._task = self.transfer = self._ended_by = None

    def _begin(self, *, streamed: bool) -> Transfer:
        """Counts a message as arriving until `_end`."""
        transfer = self._connections.expect(self._connection, self._limit, self._end_late, streamed=streamed)
        self.transfer = transfer
        if self._unread:
            transfer.began()
        return transfer

    def _end(self, transfer: Transfer) -> None:
        transfer.arrived(0)
        self._hold()

    def _raise_end(self) -> None:
        """Raises the error that ended the wait for a message, if there is one."""
        if self._ended_by is not None and self._task is not None:
            self._task.uncancel()
            raise self._ended_by from None

    def _end_late(self) -> None:
        if self.transfer is not None:
            self.end(self.transfer.refusal())

    def _hold(self) -> None:
        """Counts the bytes that are read and aren't taken."""
        if change := len(self._unread) - self._held:
            self._held += change
            self._connection.hold(change, self._connections.clock())

    async def _only_message(self) -> bytes:
        """The message of a body whose first part has been received."""
        if not self._wire.enveloped:
            while not self.ended and len(self._unread) <= self._limit:
                await self._read_on()
            if len(self._unread) > self._limit:
                raise self._too_large(len(self._unread))
            data, self._unread = bytes(self._unread), bytearray()
            return self._unpacked(data) if self._encoding else data
        message = await self._message()
        if message is None or await self._message() is not None:
            raise InvalidRequest("NOT_ONE_MESSAGE", "this method takes one message: the body has none, or several")
        return message

    def _whole_envelope(self, event: Event) -> bytes | None:
        """The message of a body whose first part is all of it, as small ones are; None: it has to be put together."""
        if event["type"] != "http.request":
            raise DisconnectedError
        data: bytes = event.get("body", b"")
        self.ended = not event.get("more_body", False)
        if self.ended and self._wire.prefixed and data[:1] == b"\0":
            size = len(data) - PREFIX
            if size == int.from_bytes(data[1:PREFIX], "big") and size <= self._limit:
                return data[PREFIX:]
        self._unread += data
        self._hold()
        return None

    async def _message(self) -> bytes | None:
        if self._wire.text and not self._decoded:
            await self._read_text()
        while (size := self._next_size()) is None or len(self._unread) < size:
            if self.ended:
                if self._unread:
                    raise InvalidRequest("NOT_A_MESSAGE", "the request's body ends within a message")
                return None
            await self._read_on()
        packed, message = self._unread[0] & COMPRESSED, bytes(memoryview(self._unread)[PREFIX:size])
        del self._unread[:size]
        return self._unpacked(message) if packed else message

    async def _read_text(self) -> None:
        """Receives all of a body in Base64; four characters stand for three bytes."""
        most = 4 * (self._limit + PREFIX) // 3 + 4
        while not self.ended and len(self._unread) <= most:
            await self._read_on()
        if len(self._unread) > most:
            raise self._too_large(len(self._unread))
        try:
            self._unread = bytearray(b64decode(self._unread, validate=True))
        except binascii.Error as error:
            raise InvalidRequest("NOT_A_MESSAGE", "the request's body is no Base64") from error
        self._decoded = True

    async def _read_on(self) -> None:
        """Receives one more part."""
        event = await self._receive()
        if event["type"] != "http.request":
            raise DisconnectedError
        if data := event.get("body", b""):
            self._unread += data
            self._hold()
            if self.transfer is not None:
                self.transfer.began()
        self.ended = not event.get("more_body", False)

    def _next_size(self) -> int | None:
        """The bytes of the next envelope; None: its beginning hasn't arrived."""
        if len(self._unread) < PREFIX:
            return None
        if self._unread[0] & ~COMPRESSED:
            raise InvalidRequest("NOT_A_MESSAGE", "the request's body has envelopes with flags that are unknown")
        if self._unread[0] and not self._encoding:
            message = f"the message is compressed, and the header {self._wire.encoding_header.decode()} doesn't say how"
            raise Unsupported("COMPRESSION_UNKNOWN", message)
        size = int.from_bytes(self._unread[1:PREFIX], "big")
        if size > self._limit:
            raise self._too_large(size)
        return PREFIX + size

    def _unpacked(self, data: bytes) -> bytes:
        return unpacked(data, self._encoding, self._limit)

    def _too_large(self, size: int) -> RequestTooLarge:
        message = f"the request is larger than max: it has {size:,} bytes or more, of {self._limit:,}; split it"
        return RequestTooLarge("REQUEST_TOO_LARGE", message)
