"""Answers GET requests over plain HTTP, in a thread of its own. It knows no metrics: its pages are given to it.

Anybody who reaches the port may connect, so connections are few and short: each has a few seconds, and the oldest is
closed where there are too many. A few file descriptors are held in reserve, so that the pages can be read when the
process has no others left.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.parser import Parser
from http import HTTPStatus
from typing import TypeAlias
from urllib.parse import urlsplit

from vitrine.server.observers import FailureStreak

CONNECTIONS = 16
"""Connections at the same time."""

CONNECTION_SECONDS = 10.0
"""Seconds that a connection may take, from its coming to its answer's having left."""

HEAD_BYTES = 16 << 10
"""The largest request line and headers."""

SPARES = 4
"""File descriptors in reserve."""

PAUSE_SECONDS = 0.25
"""Seconds until the next try where there is no file descriptor for a connection."""

BACKLOG = 128
"""Connections that the kernel keeps until they are taken up."""

TEXT = "text/plain; charset=utf-8"

MALFORMED = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
"""The answer to what is no request, or is too large."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request for a page."""

    query: str = ""
    """The part of the path behind the question mark."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The headers, their names in lower case."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A page's answer."""

    body: bytes
    """The content."""
    status: HTTPStatus = HTTPStatus.OK
    """The status."""
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": TEXT})
    """The headers but for the length."""


Page: TypeAlias = Callable[[Request], Answer]


@contextmanager
def serve_pages(host: str, port: int, pages: Mapping[str, Page]) -> Iterator[int]:
    """Answers GET requests while the context lasts; gives the port that was taken.

    Args:
        host: the address to listen on.
        port: the port; 0 takes a free one.
        pages: the pages by their paths; others are not found.

    Raises:
        OSError: the address can't be listened on.
    """
    with _listener(host, port) as listener:
        server = _Server(listener, pages)
        loop = asyncio.new_event_loop()
        serving = loop.create_task(server.serve())
        thread = threading.Thread(target=_run, args=(loop, serving), name="metrics", daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            loop.call_soon_threadsafe(serving.cancel)
            thread.join(CONNECTION_SECONDS)


def _listener(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
        0
    ]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _run(loop: asyncio.AbstractEventLoop, serving: "asyncio.Task[None]") -> None:
    with suppress(asyncio.CancelledError):
        loop.run_until_complete(serving)
    loop.close()


class _Server:
    def __init__(self, listener: socket.socket, pages: Mapping[str, Page]) -> None:
        self._listener = listener
        self._pages = pages
        self._failures = FailureStreak("a page of the metrics' port failed")
        self._spares: list[int] = []
        self._connections: dict[asyncio.Task[None], socket.socket] = {}
        self._keep_spares()

    async def serve(self) -> None:
        """Takes connections up until it is cancelled, which ends those that are open, too."""
        try:
            while True:
                connection = await self._accept()
                if len(self._connections) >= CONNECTIONS:
                    await self._end(next(iter(self._connections)))  # the oldest: a good one takes milliseconds
                task = asyncio.create_task(self._serve_connection(connection))
                self._connections[task] = connection
                task.add_done_callback(self._forget)
        finally:
            for task in list(self._connections):
                await self._end(task)
            await asyncio.sleep(0)  # transports close in the loop's next turn
            for spare in self._spares:
                os.close(spare)

    async def _end(self, task: "asyncio.Task[None]") -> None:
        """Closes a connection, which may not have been looked at yet."""
        task.cancel()
        await asyncio.wait([task])
        self._forget(task)

    def _forget(self, task: "asyncio.Task[None]") -> None:
        if connection := self._connections.pop(task, None):
            connection.close()
        self._keep_spares()

    async def _accept(self) -> socket.socket:
        """The next connection. Where there is no descriptor for it, a spare one gives way to it."""
        while True:
            try:
                return (await asyncio.get_running_loop().sock_accept(self._listener))[0]
            except OSError:  # too many open files, or a connection that has gone again
                if self._spares:
                    os.close(self._spares.pop())
                else:
                    await asyncio.sleep(PAUSE_SECONDS)

    def _keep_spares(self) -> None:
        with suppress(OSError):
            while len(self._spares) < SPARES:
                self._spares.append(os.dup(self._listener.fileno()))

    async def _serve_connection(self, connection: socket.socket) -> None:
        """Answers one request, a malformed one with status 400, and closes the connection."""
        with suppress(OSError):
            async with asyncio.timeout(CONNECTION_SECONDS):
                reader, writer = await asyncio.open_connection(sock=connection, limit=HEAD_BYTES)
                try:
                    try:
                        answer = self._answer((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
                    except (EOFError, ValueError, asyncio.LimitOverrunError):
                        answer = MALFORMED
                    writer.write(answer)
                    writer.close()
                    await writer.wait_closed()
                finally:
                    writer.transport.abort()

    def _answer(self, head: str) -> bytes:
        """The whole answer to a request. HTTP/1.1, and the connection is closed behind it."""
        line, _, headers = head.partition("\r\n")
        method, target, _ = line.split(" ")
        path, query = urlsplit(target)[2:4]
        named = {name.lower(): value for name, value in Parser().parsestr(headers).items()}
        answer = self._page(method, path)(Request(query, named))
        shown = {**answer.headers, "Content-Length": str(len(answer.body)), "Connection": "close"}
        lines = [
            f"HTTP/1.1 {answer.status} {answer.status.phrase}",
            *(f"{name}: {value}" for name, value in shown.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if method == "HEAD" else answer.body)

    def _page(self, method: str, path: str) -> Page:
        if method not in ("GET", "HEAD"):
            return lambda _: Answer(b"only GET is answered\n", HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD"})
        page = self._pages.get(path)
        if page is None:
            there = f"nothing is here; there are {', '.join(self._pages)}\n".encode()
            return lambda _: Answer(there, HTTPStatus.NOT_FOUND)
        return lambda request: self._safe(page, request)

    def _safe(self, page: Page, request: Request) -> Answer:
        try:
            answer = page(request)
        except Exception:
            self._failures.fail()
            return Answer(b"it failed; the server's log has the cause\n", HTTPStatus.INTERNAL_SERVER_ERROR)
        self._failures.end()
        return answer
