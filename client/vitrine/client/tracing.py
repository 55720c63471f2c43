"""Makes calls part of the program's trace, if it uses OpenTelemetry.

A program that uses OpenTelemetry has imported it. Otherwise nothing is imported, made or sent. The provider that the
program has set decides which spans are kept and where they go.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc
from google.protobuf.message import Message

from vitrine.client.connection import Metadata
from vitrine.client.wire import method_of

if TYPE_CHECKING:
    from opentelemetry.trace import Span


def begin_span(request: Message, target: str) -> "CallSpan":
    """Begins the span of a call in the current trace."""
    if "opentelemetry.trace" not in sys.modules:
        return CallSpan(None)
    from opentelemetry import trace

    method = method_of(request)
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

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Ends the span with the block, which makes the call or waits for its answer."""
        code = grpc.StatusCode.CANCELLED
        try:
            yield
            code = grpc.StatusCode.OK
        except grpc.RpcError as error:
            code = error.code()
            raise
        finally:
            self._end(code)

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


def _context_of(span: "Span") -> Metadata:
    from opentelemetry.trace import set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, set_span_in_context(span))
    return tuple(carrier.items())
