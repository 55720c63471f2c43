"""The events of ASGI that make an answer: https://asgi.readthedocs.io/en/latest/specs/www.html."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

Event: TypeAlias = dict[str, Any]
"""A message between an application and its host."""

Scope: TypeAlias = dict[str, Any]
"""The head of a request."""

Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]

Headers: TypeAlias = list[tuple[bytes, bytes]]


def start(status: int, headers: Headers, *, trailers: bool = False) -> Event:
    """The head of an answer."""
    return {"type": "http.response.start", "status": status, "headers": headers, "trailers": trailers}


def body(data: bytes, *, more: bool = False) -> Event:
    """A part of its body."""
    return {"type": "http.response.body", "body": data, "more_body": more}


def trailers(headers: Headers) -> Event:
    """The headers after its body."""
    return {"type": "http.response.trailers", "headers": headers, "more_trailers": False}


def whole(status: int, headers: Headers, data: bytes = b"") -> Sequence[Event]:
    """An answer of one part."""
    return start(status, [*headers, (b"content-length", b"%d" % len(data))]), body(data)
