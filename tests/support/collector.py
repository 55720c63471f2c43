"""An OpenTelemetry collector in the test's process: it receives OTLP over gRPC and keeps the spans."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from support.serving import PATIENCE_SECONDS


@dataclass(frozen=True)
class ReceivedSpan:
    """A received span."""

    service: str
    """Name of the service that sent it."""
    name: str
    trace: str
    """Trace id in hex."""
    id: str
    parent: str
    """Its parent's id in hex; empty for a root span."""
    begin: int
    """Nanoseconds since 1970, as `end`."""
    end: int
    kind: int
    failed: bool
    attributes: dict[str, Any]

    def __contains__(self, other: "ReceivedSpan") -> bool:
        """True if the other span is a child of this one, within its time."""
        return other.parent == self.id and self.begin <= other.begin <= other.end <= self.end


class Collector(TraceServiceServicer):
    """Receives spans and keeps them."""

    def __init__(self) -> None:
        self.url = ""
        self.requests = 0
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._spans: list[ReceivedSpan] = []
        self._changed = threading.Condition()

    def Export(self, request: Any, _: Any) -> Any:  # noqa: N802
        with self._changed:
            self.requests += 1
            self._spans += list(_read(request))
            self._changed.notify_all()
        self.may_answer.wait()
        return otlp.ExportTraceServiceResponse()

    @property
    def spans(self) -> list[ReceivedSpan]:
        """Received spans, ordered by begin."""
        with self._changed:
            return sorted(self._spans, key=lambda span: span.begin)

    def wait_until(self, satisfied: Callable[["Collector"], bool]) -> None:
        """Waits until the received spans satisfy a condition."""
        with self._changed:
            assert self._changed.wait_for(lambda: satisfied(self), PATIENCE_SECONDS), self._spans


def _read(request: Any) -> Iterator[ReceivedSpan]:
    for resource in request.resource_spans:
        service = _values(resource.resource.attributes)["service.name"]
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            yield ReceivedSpan(
                service,
                span.name,
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                span.start_time_unix_nano,
                span.end_time_unix_nano,
                span.kind,
                span.status.code == span.status.STATUS_CODE_ERROR,
                _values(span.attributes),
            )


def _values(attributes: Any) -> dict[str, Any]:
    return {entry.key: getattr(entry.value, entry.value.WhichOneof("value")) for entry in attributes}


@contextmanager
def open_collector(port: int = 0) -> Iterator[Collector]:
    """A collector on a port of this machine; 0 takes a free one."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    collector.url = f"http://127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    server.start()
    try:
        yield collector
    finally:
        collector.may_answer.set()
        server.stop(None).wait()
