"""Makes calls part of the program's trace, if it uses OpenTelemetry.

A program that uses OpenTelemetry has imported it. Otherwise nothing is imported, made or sent. The provider that the
program has set decides which spans are kept and where they go.
"""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc

from vitrine.client.connection import Metadata
from vitrine.client.errors import AnswerError

if TYPE_CHECKING:
    from opentelemetry.trace import Span


def begin_span(method: str, target: str) -> "CallSpan":
    """Begins the span of a call of a method, PACKAGE.SERVICE/METHOD, in the current trace."""
    if "opentelemetry.trace" not in sys.modules:
        return UNTRACED
    from opentelemetry import trace

    service, _, name = method.rpartition("/")
    attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name, "server.address": target}
    tracer = trace.get_tracer("vitrine.client")
    return CallSpan(tracer.start_span(method, kind=trace.SpanKind.CLIENT, attributes=attributes))


class CallSpan:
    """A call's span.

    Args:
        span: OpenTelemetry's span; None without OpenTelemetry.
    """

    def __init__(self, span: "Span | None") -> None:
        self._span = span
        self._landed: int | None = None
        self.metadata: Metadata = () if span is None else _context_of(span)
        """W3C's `traceparent` and `tracestate`, which make the server's spans part of the trace."""

    def landed(self, _: object) -> None:
        """Notes the end of the call, which its caller may learn later; gRPC's callback."""
        self._landed = time.time_ns()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the span with the block, which makes the call or waits for its answer."""
        if self._span is not None:
            self._end(_code_of(error))

    def link(self, carrying: "CallSpan") -> None:
        """Links the span to that of the call in whose name a shared request travels: the server's spans are there."""
        if self._span is not None and carrying._span is not None:
            self._span.add_link(carrying._span.get_span_context())

    def cancel(self) -> None:
        """Ends the span of a cancelled call."""
        self._end(grpc.StatusCode.CANCELLED)

    def _end(self, code: grpc.StatusCode) -> None:
        if self._span is None:
            return
        from opentelemetry.trace import StatusCode

        self._span.set_attribute("rpc.grpc.status_code", code.value[0])
        if code is not grpc.StatusCode.OK:
            self._span.set_status(StatusCode.ERROR, code.name)
        self._span.end(self._landed)


UNTRACED = CallSpan(None)
"""The span of every call of a program without OpenTelemetry."""


def _code_of(error: BaseException | None) -> grpc.StatusCode:
    """The status of a call that ended with an error; None: with an answer."""
    if error is None or isinstance(error, AnswerError):
        return grpc.StatusCode.OK
    code = getattr(error, "code", grpc.StatusCode.CANCELLED)  # gRPC's errors have a method, the client's a value
    return code() if callable(code) else code


def _context_of(span: "Span") -> Metadata:
    from opentelemetry.trace import set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, set_span_in_context(span))
    return tuple(carrier.items())
