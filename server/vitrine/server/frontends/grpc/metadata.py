"""What travels beside a request that concerns no service: its id, and the trace that it is part of.

Callers write what they like there, so that nothing is taken over that isn't of the expected form: ids end up in logs.
"""

import re
from collections.abc import Iterable
from typing import TypeAlias

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]
"""Names and values, as gRPC has them."""

REQUEST_ID = "x-request-id"
"""The name under which a caller may give its request an id, and learns it of a call that failed."""

SANE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
"""What may be an id: what proxies and programs make for one, and nothing that a log's reader could take for more."""

TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""See https://www.w3.org/TR/trace-context/#traceparent-header, version 00."""


def request_id_of(metadata: Metadata) -> str:
    """The id that a caller gave its request; empty when it gave none that can be used."""
    given = next((value for key, value in metadata if key == REQUEST_ID), "")
    return given if isinstance(given, str) and SANE_ID.fullmatch(given) else ""


def trace_of(metadata: Metadata) -> dict[str, str]:
    """The trace that a caller makes its request part of, under the W3C's names; empty when it is part of none."""
    found = {key: str(value) for key, value in metadata if key in ("traceparent", "tracestate")}
    return found if TRACEPARENT.fullmatch(found.get("traceparent", "")) else {}


def with_request_id(trailing: Metadata | None, request_id: str) -> tuple[tuple[str, str | bytes], ...]:
    """A status's trailing metadata, and the request's id."""
    return (*(trailing or ()), (REQUEST_ID, request_id))
