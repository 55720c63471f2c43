"""Makes OpenTelemetry spans of calls that are over, and sends them to a collector by OTLP.

It reads calls and knows none of their transport. A thread of the SDK sends spans in batches; a collector that is slow
or gone holds up no call: spans that can't be sent are dropped. Nothing here is global but the level of the SDK's log.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

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
from vitrine.server.inference.call import Call, Outcome
from vitrine.server.security.addresses import is_loopback
from vitrine.server.telemetry.tracing_config import TracingConfig

logger = logging.getLogger(__name__)

NANOSECONDS = 1_000_000_000

FAULTS = {Outcome.UNIMPLEMENTED, Outcome.INTERNAL}
"""The outcomes that are a server's errors by OpenTelemetry's conventions; the others are its caller's."""


class Tracing:
    """Makes spans of calls, on the event loop's thread, and sends them in another.

    Args:
        config: their destination, and the share of calls.
    """

    def __init__(self, config: TracingConfig) -> None:
        version = distribution.version()
        self._ids = _CallIds()
        sampler = ParentBased(TraceIdRatioBased(config.ratio))
        self._provider = TracerProvider(sampler, _resource(version), shutdown_on_exit=False, id_generator=self._ids)
        channel_options: Any = (("grpc.enable_http_proxy", 0),) if is_loopback(config.host) else ()
        sender = OTLPSpanExporter(config.endpoint, channel_options=channel_options)
        exporter = _AnnouncedExporter(sender, config.collector)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("vitrine.server", version)
        self._propagator = TraceContextTextMapPropagator()
        _silence_sdk()

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
        for stage, taken in call.stages.items():
            child = self._tracer.start_span(stage.value, inside, start_time=_wall(taken.begin, shift))
            child.end(_wall(taken.end, shift))
        span.set_attributes(_attributes(call))
        if call.outcome in FAULTS:
            span.set_status(StatusCode.ERROR)
        span.end(_wall(call.end, shift))

    def close(self) -> None:
        """Sends the spans that are left, which takes as long as the collector does: call it in a thread."""
        self._provider.shutdown()


def _wall(moment: float, shift: int) -> int:
    """A moment of `time.monotonic` in nanoseconds since 1970."""
    return round(moment * NANOSECONDS) + shift


def _attributes(call: Call) -> dict[str, str | int]:
    """The attributes of OpenTelemetry's conventions for remote calls, and those of our own."""
    service, _, method = call.method.strip("/").rpartition("/")
    return {
        "rpc.system": "grpc",
        "rpc.service": service,
        "rpc.method": method,
        "rpc.grpc.status_code": Code.Value(call.outcome.value),  # the outcomes have the names of its members
        "vitrine.model": call.model,
        "vitrine.images": call.images,
        "vitrine.request_id": call.request_id,
    }


def _resource(version: str) -> Resource:
    """The sender of the spans; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES override it."""
    known = OTELResourceDetector().detect().attributes
    return Resource.create({"service.name": "vitrine-server", "service.version": version, **known})


def _silence_sdk() -> None:
    """Silences the SDK, which warns at each attempt, for hours: `_AnnouncedExporter` logs failures, each once."""
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


class _CallIds(RandomIdGenerator):
    """Gives a call's span the ids that its log lines have, and the spans in it random ids."""

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
    """Logs when a collector stops taking spans, and when it takes them again; each once."""

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
