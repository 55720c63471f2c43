"""Receives the messages of gRPC's calls, within limits of size, time and memory.

gRPC would receive the message of a call of one request before its handler is called. So every handler here is one of a
stream, and asks for its messages itself: the caller is known by then, and what arrives is counted.
"""

import asyncio
from typing import Any, TypeAlias

import grpc
import grpc.aio

from vitrine.server.errors import RequestError, RequestTooLarge
from vitrine.server.frontends.grpc.aborting import when_over
from vitrine.server.frontends.grpc.sockets import host_of
from vitrine.server.inference.call import Call
from vitrine.server.inference.connections import Connections, Transfer
from vitrine.server.inference.rate_limit import caller_at

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


def network_of(name: str) -> str:
    """The host of a connection as callers are told apart by it: an address, or of IPv6 its network."""
    return caller_at(host_of(name))


class Receiver:
    """Receives the messages of one call. Made in the call's task.

    Args:
        connections: the account of what connections hold.
        context: gRPC's side of the call.
        limit: the largest message, in bytes.
        known: its caller has shown a token.
    """

    __slots__ = ("_connections", "_context", "_ended_by", "_limit", "_task", "_transfer", "call", "connection")

    def __init__(self, connections: Connections, context: Context, limit: int, *, known: bool) -> None:
        self.call: Call | None = None
        """The call to close when gRPC's is over."""
        self.connection = connection = connections.at(context.peer(), network_of)
        connection.calls += 1
        connection.active = connections.clock()
        connection.known = connection.known or known
        self._connections, self._context, self._limit = connections, context, limit
        self._task = asyncio.current_task()
        self._transfer: Transfer | None = None
        self._ended_by: RequestError | None = None
        when_over(self._close)

    async def message(self, *, streamed: bool = False) -> bytes | None:
        """The next message; None: there is none any more.

        Args:
            streamed: it is one of a stream, which may be silent for as long as it likes.

        Raises:
            RequestTooLarge: it has too many bytes.
            RequestTooSlow: it took too long to arrive.
            Leaving: the server leaves, and the message doesn't arrive soon.
        """
        transfer = self._transfer = self._connections.expect(self.connection, self._limit, self._end, streamed=streamed)
        size = 0
        try:
            if not (streamed or transfer.may_read()):
                await transfer.turn()
            data = await self._context.read()
            if data is grpc.aio.EOF:
                return None
            size = len(data)
        except asyncio.CancelledError:
            if self._ended_by is None or self._task is None:
                raise
            self._task.uncancel()
            raise self._ended_by from None
        finally:
            transfer.arrived(size)
        if size > self._limit:
            message = f"the request has {size:,} bytes, and {self._limit:,} are taken at most: split it"
            raise RequestTooLarge("REQUEST_TOO_LARGE", message)
        return bytes(data)

    def leaving(self, size: int) -> None:
        """An answer of so many bytes begins to leave."""
        if self._transfer is not None:
            self._transfer.leaving(size)

    def left(self) -> None:
        """The answer has left, and the call goes on."""
        if self._transfer is not None:
            self._transfer.left()

    def _end(self) -> None:
        """Ends the wait for a message."""
        if self._transfer is not None and self._task is not None:
            self._ended_by = self._transfer.refusal()
            self._task.cancel()

    def _close(self) -> None:
        """Gives back what the call holds, and cuts circles: its request is let go without the garbage collector."""
        self.left()
        self.connection.calls -= 1
        self._task = self._transfer = self._ended_by = None
        if self.call is not None:
            self.call.close()
            self.call = None
