"""Metadata of requests that concerns no service: a request's id, and the trace that it is part of.

Callers write it, so values of an unexpected form are dropped: ids end up in logs.
"""

import re
from collections.abc import Iterable
from typing import TypeAlias

from vitrine.server.errors import RequestTooLarge

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]
"""Names and values, as gRPC has them."""

HEADER_BYTES = 16 << 10
"""Bytes of metadata that a call may have, as HTTP/2 counts them: names, values, and 32 for each (RFC 9113, 6.5.2)."""

REQUEST_ID = "x-request-id"
"""The header in which a caller may give its request an id, and in which a failed call returns it."""

NO_RETRY = ("grpc-retry-pushback-ms", "-1")
"""Trailing metadata that keeps clients from sending a call again (gRPC proposal A6): what failed inside fails again."""

SANE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
"""The form of an id: as proxies and programs make them, and nothing that could be mistaken for more in a log."""

TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""See https://www.w3.org/TR/trace-context/#traceparent-header, version 00."""


def bounded(metadata: Metadata | None) -> Metadata:
    """A call's metadata, which isn't too large.

    gRPC's core checks it too, but only for a peer that has acknowledged the server's settings. For others it unpacks up
    to 16 MiB, out of some KiB that refer to one header again and again.

    Raises:
        RequestTooLarge: it is.
    """
    size = sum(len(name) + len(value) + 32 for name, value in metadata or ())
    if size > HEADER_BYTES:
        del metadata  # the error's traceback would keep it until the call has ended
        message = f"the token, or other metadata, is too large: {size:,} bytes, of which {HEADER_BYTES:,} are taken"
        raise RequestTooLarge("HEADERS_TOO_LARGE", message)
    return metadata or ()


def request_id_of(metadata: Metadata) -> str:
    """The id that a caller gave its request; empty where there is no usable one."""
    given = next((value for key, value in metadata if key == REQUEST_ID), "")
    return given if isinstance(given, str) and SANE_ID.fullmatch(given) else ""


def trace_of(metadata: Metadata) -> dict[str, str]:
    """The trace that a caller makes its request part of, under the W3C's names; empty when it is part of none."""
    found = {key: str(value) for key, value in metadata if key in ("traceparent", "tracestate")}
    return found if TRACEPARENT.fullmatch(found.get("traceparent", "")) else {}


def with_request_id(trailing: Metadata | None, request_id: str) -> tuple[tuple[str, str | bytes], ...]:
    """A status's trailing metadata, and the request's id."""
    return (*(trailing or ()), (REQUEST_ID, request_id))
