"""Makes OpenTelemetry spans of calls that are over, and sends them to a collector by OTLP.

It reads calls and knows none of their transport. Spans are sent in batches by a thread of the SDK's; a collector that
is slow or gone holds up no call: what can't be sent is dropped. Nothing here is global but the level of the SDK's log.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

from google.rpc.code_pb2 import Code
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from vitrine.model import distribution
from vitrine.server.inference.call import Call, Stage
from vitrine.server.telemetry.tracing import TracingConfig

logger = logging.getLogger(__name__)

NANOSECONDS = 1_000_000_000

FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
"""The statuses that are a server's errors by OpenTelemetry's conventions; the others are its caller's doing."""


class Tracing:
    """Makes spans of calls, on the event loop's thread, and sends them in another.

    Args:
        config: where they go, and how many.
    """

    def __init__(self, config: TracingConfig) -> None:
        version = distribution.version()
        self._ids = _CallIds()
        sampler = ParentBased(TraceIdRatioBased(config.ratio))
        self._provider = TracerProvider(sampler, _resource(version), shutdown_on_exit=False, id_generator=self._ids)
        exporter = _AnnouncedExporter(OTLPSpanExporter(config.endpoint), config.collector)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("vitrine.server", version)
        self._propagator = TraceContextTextMapPropagator()
        _quieten_sdk()

    def observe(self, call: Call) -> None:
        """Makes the spans of a call that is over: its own, and in it one for each stage that it passed."""
        shift = time.time_ns() - time.monotonic_ns()
        parent = self._propagator.extract(call.trace)
        begin = _wall(call.begin, shift)
        with self._ids.of(call):
            span = self._tracer.start_span(call.method.strip("/"), parent, SpanKind.SERVER, start_time=begin)
        if not span.is_recording():
            return
        inside = set_span_in_context(span)
        for stage, begun, ended in _stages(call):
            self._tracer.start_span(stage.value, inside, start_time=_wall(begun, shift)).end(_wall(ended, shift))
        span.set_attributes(_attributes(call))
        if call.outcome in FAULTS:
            span.set_status(StatusCode.ERROR)
        span.end(_wall(call.end, shift))

    def close(self) -> None:
        """Sends what is left, which takes as long as the collector does: call it in a thread."""
        self._provider.shutdown()


def _stages(call: Call) -> Iterator[tuple[Stage, float, float]]:
    """The stages that a call passed, each with its begin and end; a stage that follows on itself is one."""
    for stage, group in groupby(call.passages, key=lambda passage: passage.stage):
        passages = list(group)
        yield stage, passages[0].begin, passages[-1].end


def _wall(moment: float, shift: int) -> int:
    """A moment of `time.monotonic` in nanoseconds since 1970."""
    return round(moment * NANOSECONDS) + shift


def _attributes(call: Call) -> dict[str, str | int]:
    """What OpenTelemetry's conventions for remote calls have names for, and what only a call of ours has."""
    service, _, method = call.method.strip("/").rpartition("/")
    return {
        "rpc.system": "grpc",
        "rpc.service": service,
        "rpc.method": method,
        "rpc.grpc.status_code": Code.Value(call.outcome),
        "vitrine.model": call.model,
        "vitrine.images": call.images,
        "vitrine.request_id": call.request_id,
    }


def _resource(version: str) -> Resource:
    """What sends the spans; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES know it better."""
    known = OTELResourceDetector().detect().attributes
    return Resource.create({"service.name": "vitrine-server", "service.version": version, **known})


def _quieten_sdk() -> None:
    """Leaves it to `_AnnouncedExporter` to say how the exporter fares: the SDK warns at each attempt, for hours."""
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


class _CallIds(RandomIdGenerator):
    """Gives a call's span the ids that its log lines have, and the spans in it random ones."""

    def __init__(self) -> None:
        self._call: Call | None = None

    @contextmanager
    def of(self, call: Call) -> Iterator[None]:
        """The span that is begun in the block is the call's."""
        self._call = call
        try:
            yield
        finally:
            self._call = None

    def generate_span_id(self) -> int:
        return int(self._call.span_id, 16) if self._call else super().generate_span_id()

    def generate_trace_id(self) -> int:
        return int(self._call.trace_id, 16) if self._call else super().generate_trace_id()


class _AnnouncedExporter(SpanExporter):
    """Says in the log when a collector stops to take spans, and when it takes them again; each once."""

    def __init__(self, exporter: SpanExporter, collector: str) -> None:
        self._exporter = exporter
        self._collector = collector
        self._works = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        works = result is SpanExportResult.SUCCESS
        if self._works and not works:
            message = "traces can't be sent to %s, and are dropped until they can; at the level debug the log says why"
            logger.warning(message, self._collector)
        if works and not self._works:
            logger.info("traces are sent to %s again", self._collector)
        self._works = works
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)
