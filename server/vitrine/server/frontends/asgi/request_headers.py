"""Reads the headers of a request that concern every call: its deadline, who sends it, and the host it is for."""

import re
from collections.abc import Mapping

from vitrine.server.errors import InvalidRequest, PermissionDenied, quoted
from vitrine.server.frontends.asgi.events import Scope
from vitrine.server.frontends.asgi.wires import Wire
from vitrine.server.security.addresses import is_fixed

TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])")
"""A time as gRPC writes it: a number and its unit."""

MILLISECONDS = re.compile(rb"(\d{1,10})")
"""A time as Connect writes it."""

UNIT_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


def seconds_given(wire: Wire, value: bytes) -> float:
    """The seconds that a caller gives its call.

    Raises:
        InvalidRequest: it can't be read.
    """
    name = wire.timeout_header
    if name == b"grpc-timeout" and (found := TIMEOUT.fullmatch(value)):
        return int(found[1]) * UNIT_SECONDS[found[2]]
    if name == b"connect-timeout-ms" and (found := MILLISECONDS.fullmatch(value)):
        return int(found[1]) / 1000
    raise InvalidRequest("MALFORMED_TIMEOUT", f"the header {name.decode()} holds no time")


JOINED = re.compile(r",\s*(?=bearer )", re.IGNORECASE)
"""The place where a proxy has joined two `authorization` headers into one, as Envoy does."""


def authorization_of(scope: Scope) -> list[str]:
    """All `authorization` headers: more than one is an error."""
    given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]
    return [header for joined in given for header in JOINED.split(joined)]


def client_host(scope: Scope) -> str:
    """The host that a request comes from, without a port; empty where that isn't known."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def check_host(headers: Mapping[bytes, bytes]) -> None:
    """Checks the host that a browser believes to ask, for a server that only this machine should reach.

    A page of another site can let its own name stand for this machine (DNS rebinding). Its calls are then of the same
    origin for the browser, and it reads the answers. Only browsers send `origin`, and with each POST.

    Raises:
        PermissionDenied: it is a name that somebody else may have.
    """
    host = headers.get(b"host", b"").decode("latin-1")
    if b"origin" in headers and not is_fixed(host):
        raise PermissionDenied(
            "HOST_UNKNOWN",
            f"browsers reach this server as localhost or by its address, and this page calls it {quoted(host)}: behind "
            "a proxy, let that send `Host: localhost`, or start the server with --tokens",
        )
