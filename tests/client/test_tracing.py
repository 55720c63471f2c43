"""A call is part of its caller's trace, where the program uses OpenTelemetry; elsewhere nothing is different."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from client.conftest import Ask
from client.scripted import ScriptedServer, fail_inside
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from vitrine.client import Client, ServerError

CLASSIFY = "vitrine.v1.ClassifierService/Classify"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """The spans of this program, which has set up OpenTelemetry."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield exporter
    provider.shutdown()


def carried(metadata: dict[str, str | bytes]) -> tuple[str, str]:
    """The trace and the span that a request came with."""
    _, trace_id, span_id, sampled = str(metadata["traceparent"]).split("-")
    assert sampled.endswith(("1", "3"))
    return trace_id, span_id


def ids(span: ReadableSpan) -> tuple[str, str]:
    assert span.context is not None
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


def test_each_request_is_a_span_within_the_programs_own(
    scripted: ScriptedServer, ask: Ask, images: Any, spans: InMemorySpanExporter
) -> None:
    scripted.limits.max_images = 4
    with trace.get_tracer("test").start_as_current_span("work") as work:
        assert len(ask(scripted.target, "classify_many", images, preparation="none")) == 10
    *calls, _ = spans.get_finished_spans()
    assert sorted(span.name for span in calls) == [CLASSIFY] * 3 + ["vitrine.v1.ClassifierService/GetModel"]
    assert all(span.parent == work.get_span_context() for span in calls)
    assert all(span.kind is trace.SpanKind.CLIENT and span.status.is_unset for span in calls)
    assert {ids(span) for span in calls} == {carried(metadata) for metadata in scripted.metadata}


def test_the_health_check_is_a_span_too(scripted: ScriptedServer, ask: Ask, spans: InMemorySpanExporter) -> None:
    assert ask(scripted.target, "health")
    assert [span.name for span in spans.get_finished_spans()] == ["grpc.health.v1.Health/Check"]


def test_a_failed_call_is_a_failed_span(
    scripted: ScriptedServer, ask: Ask, images: Any, spans: InMemorySpanExporter
) -> None:
    scripted.script = [fail_inside]
    with pytest.raises(ServerError):
        ask(scripted.target, "classify", images[0], preparation="none")
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is trace.StatusCode.ERROR
    assert (span.attributes or {})["rpc.grpc.status_code"] == grpc.StatusCode.INTERNAL.value[0]


def test_requests_that_nobody_waits_for_any_more_end_their_spans(
    scripted: ScriptedServer, images: Any, spans: InMemorySpanExporter
) -> None:
    scripted.limits.max_images = 1
    with Client(scripted.target) as client:
        predictions = client.classify_many(images, preparation="none")
        next(predictions)
        predictions.close()
    begun = {carried(metadata) for metadata in scripted.metadata}
    assert begun <= {ids(span) for span in spans.get_finished_spans()}


def test_a_program_without_opentelemetry_neither_loads_nor_sends_anything_of_it(scripted: ScriptedServer) -> None:
    program = (
        "import sys; from vitrine.client import Client; import numpy as np\n"
        f"Client({scripted.target!r}).classify(np.zeros((18, 18), np.uint8))\n"
        "print(sorted(name for name in sys.modules if name.startswith('opentelemetry')))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
    assert scripted.metadata
    assert not any("traceparent" in metadata for metadata in scripted.metadata)
