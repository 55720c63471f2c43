"""Traces, from the program that calls to the run of the model: sent by a real server to a real OTLP receiver."""

import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from support.collector import Collector, ReceivedSpan, open_collector
from support.serving import PATIENCE_SECONDS, logged_server, open_log, refused_start, running_server

from vitrine.client import Client, InvalidRequestError
from vitrine.server.errors import StartupError
from vitrine.server.inference.call import Call
from vitrine.server.opening import open_service
from vitrine.server.service_config import ServiceConfig
from vitrine.server.telemetry import spans
from vitrine.server.telemetry.tracing_config import TracingConfig
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

EIGHT = Path(__file__).parents[2] / "examples" / "eight.png"
ONE_IMAGE = pb.ClassifyRequest(pixels=pb.Tensor(shape=[1, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=bytes(324)))
AT_THE_END = {"OTEL_BSP_SCHEDULE_DELAY": "3600000"}
"""Spans are sent when the server stops: by then, all that will ever come has come."""
AT_ONCE = {"OTEL_BSP_SCHEDULE_DELAY": "20", "OTEL_EXPORTER_OTLP_TIMEOUT": "0.2"}
CLIENT_KIND, SERVER_KIND = 3, 2


@pytest.fixture
def collector() -> Iterator[Collector]:
    with open_collector() as running:
        yield running


def parent(trace: str, *, sampled: bool) -> Any:
    """The metadata of a call that is part of a trace."""
    return (("traceparent", f"00-{trace}-{secrets.token_hex(8)}-{int(sampled):02x}"),)


def by_name(spans: list[ReceivedSpan]) -> dict[str, ReceivedSpan]:
    """A trace's spans, of which each has a name of its own."""
    assert len({span.name + span.service for span in spans}) == len(spans)
    assert len({span.trace for span in spans}) == 1
    return {f"{span.service}: {span.name}": span for span in spans}


def test_one_trace_goes_from_the_program_through_the_client_and_the_server_to_the_run(
    tiny_artifact: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = TracerProvider(resource=Resource({"service.name": "program"}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(collector.url)))
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: provider)
    with (
        running_server(tiny_artifact, "--otlp-endpoint", collector.url, **AT_THE_END) as server,
        Client(server.target) as client,
    ):
        client.classify(EIGHT, preparation="server")  # the first one asks for the model's shape, too
        with provider.get_tracer("test").start_as_current_span("work"):
            client.classify(EIGHT, preparation="server")
    provider.shutdown()

    (trace,) = {span.trace for span in collector.spans if span.name == "work"}
    spans = by_name([span for span in collector.spans if span.trace == trace])
    classify = "vitrine.v1.ClassifierService/Classify"
    stages = ["prepare", "queue", "batch", "compute", "encode"]
    at_server = [f"vitrine-server: {name}" for name in (classify, *stages)]
    assert list(spans) == ["program: work", f"program: {classify}", *at_server]
    work, calling, answering, *passing = spans.values()
    assert work.parent == ""
    assert calling in work
    assert answering in calling
    assert all(stage in answering for stage in passing)
    assert all(stage.end <= following.begin for stage, following in pairwise(passing))
    assert (calling.kind, answering.kind) == (CLIENT_KIND, SERVER_KIND)
    for span in (calling, answering):
        assert span.attributes.items() >= {
            ("rpc.system", "grpc"),
            ("rpc.service", "vitrine.v1.ClassifierService"),
            ("rpc.method", "Classify"),
            ("rpc.grpc.status_code", 0),
        }
    assert answering.attributes["vitrine.model"].startswith("tiny@")
    assert answering.attributes["vitrine.images"] == 1


def test_without_an_endpoint_nothing_is_sent(tiny_artifact: Path) -> None:
    """Not even to where OpenTelemetry sends by default, which is why this needs that port."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 4317)) == 0:
            pytest.skip("a collector is at work on this machine")
    with open_collector(4317) as collector:
        with running_server(tiny_artifact, **AT_THE_END) as server, grpc.insecure_channel(server.target) as channel:
            trace = parent(secrets.token_hex(16), sampled=True)
            ClassifierServiceStub(channel).Classify(ONE_IMAGE, metadata=trace)
        assert collector.requests == 0


@pytest.mark.parametrize(("ratio", "of_no_trace"), [("0", 0), ("1", 1)])
def test_the_caller_decides_and_where_it_does_not_the_ratio(
    tiny_artifact: Path, collector: Collector, ratio: str, of_no_trace: int
) -> None:
    wanted, unwanted = secrets.token_hex(16), secrets.token_hex(16)
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "VITRINE_TRACE_RATIO": ratio, **AT_THE_END}
    with running_server(tiny_artifact, **environment) as server, grpc.insecure_channel(server.target) as channel:
        stub = ClassifierServiceStub(channel)
        for metadata in (parent(wanted, sampled=True), parent(unwanted, sampled=False), ()):
            stub.Classify(ONE_IMAGE, metadata=metadata)
    calls = [span.trace for span in collector.spans if span.kind == SERVER_KIND]
    assert wanted in calls
    assert unwanted not in calls
    assert len(calls) == 1 + of_no_trace


def test_each_caller_of_a_shared_run_gets_spans_of_its_own(tiny_artifact: Path, collector: Collector) -> None:
    traces = [secrets.token_hex(16) for _ in range(3)]
    until_all_are_there = ("--max-batch-rows", "3", "--max-queue-delay-us", "3600000000")
    with (
        running_server(tiny_artifact, *until_all_are_there, "--otlp-endpoint", collector.url, **AT_THE_END) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        stub = ClassifierServiceStub(channel)
        calls = [stub.Classify.future(ONE_IMAGE, metadata=parent(trace, sampled=True)) for trace in traces]
        assert all(len(call.result().digits) == 1 for call in calls)
    for trace in traces:
        answering, *stages = [span for span in collector.spans if span.trace == trace]
        assert [span.name for span in stages] == ["queue", "batch", "compute", "encode"]
        assert all(stage in answering for stage in stages)


def test_what_fails_is_an_error_only_where_the_server_is_at_fault(tiny_artifact: Path, collector: Collector) -> None:
    with (
        running_server(tiny_artifact, "--otlp-endpoint", collector.url, **AT_THE_END) as server,
        Client(server.target) as client,
        pytest.raises(InvalidRequestError) as caught,
    ):
        client.classify(EIGHT, activations="relu_9")
    (refused,) = [span for span in collector.spans if span.name.endswith("/Classify")]
    assert refused.attributes["rpc.grpc.status_code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert refused.attributes["vitrine.request_id"] == caught.value.request_id
    assert not refused.failed


def test_every_worker_traces_what_it_answers(tiny_artifact: Path, collector: Collector) -> None:
    with running_server(tiny_artifact, "--workers", "2", "--otlp-endpoint", collector.url, **AT_THE_END) as server:
        for _ in range(3):
            with grpc.insecure_channel(server.target) as channel:
                ClassifierServiceStub(channel).Classify(ONE_IMAGE)
    assert sum(span.kind == SERVER_KIND for span in collector.spans) == 3


def test_a_collector_that_is_gone_harms_no_call_and_is_told_of_once(tiny_artifact: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    endpoint = ("--otlp-endpoint", f"http://127.0.0.1:{port}")
    with (
        open_log() as (pipe, log),
        logged_server(pipe, tiny_artifact, *endpoint, **AT_ONCE) as server,
        Client(server.target) as client,
    ):
        call_until(client, log, f"traces can't be sent to 127.0.0.1:{port}")
        for _ in range(300):
            client.classify(EIGHT)
        with open_collector(port):
            call_until(client, log, f"traces are sent to 127.0.0.1:{port} again")
            assert server.stop() == 0
    assert len(log.all("traces can't be sent")) == 1
    assert "opentelemetry" not in log.text


def call_until(client: Client, log: Any, pattern: str) -> None:
    """Calls, so that there are spans to send, until the log says something."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not log.all(pattern):
        assert time.monotonic() < give_up, log.text
        client.classify(EIGHT)


def test_a_collector_on_this_machine_is_reached_without_a_proxy(tiny_artifact: Path, collector: Collector) -> None:
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy"), "http://192.0.2.1:3128") | {"no_proxy": ""}
    soon = {"OTEL_BSP_SCHEDULE_DELAY": "20"}
    with running_server(tiny_artifact, "--otlp-endpoint", collector.url, **soon, **proxies) as server:
        with Client(server.target) as client:
            client.classify(EIGHT)
        collector.wait_until(lambda collector: collector.requests > 0)


START = "from vitrine.server.cli import main; main()"
NEVER_DONE = (sys.executable, "-c", f"from vitrine.server import opening; opening.FLUSH_SECONDS = 3600.0; {START}")
"""A server that would send its last spans for an hour."""


@pytest.mark.parametrize("drain_seconds", [0.5, 0])
def test_a_collector_that_does_not_answer_holds_up_neither_calls_nor_the_end(
    tiny_artifact: Path, collector: Collector, drain_seconds: float
) -> None:
    """The last spans get what the drain leaves of its time, or workers would count as hung."""
    collector.may_answer.clear()
    flags = ("--otlp-endpoint", collector.url, "--drain-seconds", str(drain_seconds))
    environment = {**AT_ONCE, "OTEL_EXPORTER_OTLP_TIMEOUT": "3600"}
    started = logged_server(None, tiny_artifact, *flags, program=NEVER_DONE, **environment)
    with started as server, Client(server.target) as client:
        client.classify(EIGHT)
        collector.wait_until(lambda collector: collector.requests == 1)
        for _ in range(100):
            client.classify(EIGHT)
        assert server.stop() == 0


async def test_a_service_that_can_not_be_opened_or_fails_leaves_no_thread_that_sends_spans(
    tiny_artifact: Path, tmp_path: Path, collector: Collector
) -> None:
    tracing = TracingConfig(collector.url)
    threads = set(threading.enumerate())

    async def fail_in_a_service_of(artifact: Path) -> None:
        async with open_service(ServiceConfig(artifact, tracing=tracing)) as service:
            call = Call("/test/Test")
            for observe in service.observers:
                observe(call)
            raise ZeroDivisionError

    with pytest.raises(StartupError):
        await fail_in_a_service_of(tmp_path / "none.onnx")
    with pytest.raises(ZeroDivisionError):
        await fail_in_a_service_of(tiny_artifact)
    collector.wait_until(lambda collector: collector.requests == 1)
    assert not [thread.name for thread in set(threading.enumerate()) - threads if "Span" in thread.name]


def test_a_call_whose_span_can_not_be_begun_leaves_its_ids_to_no_other() -> None:
    ids = spans._CallIds()
    call = Call("/test/Test")
    with suppress(RuntimeError), ids.of(call):
        raise RuntimeError("the sampler fails")
    assert ids.generate_trace_id() != int(call.trace_id, 16)


def test_an_endpoint_that_is_no_url_is_refused() -> None:
    assert "the OTLP endpoint is a URL such as" in refused_start("--otlp-endpoint", "localhost:4317")


@pytest.mark.parametrize("user", ["alice:secret@", "secret@"])
def test_an_endpoint_with_a_password_is_refused_and_not_quoted(user: str) -> None:
    said = refused_start("--otlp-endpoint", f"http://{user}localhost:4317", "--log-level", "debug")
    assert "OTEL_EXPORTER_OTLP_HEADERS" in said
    assert "secret" not in said


def test_an_endpoint_without_the_packages_is_refused_and_the_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text("raise ImportError('it is not installed')")
    said = refused_start(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://localhost:4317", PYTHONPATH=path_with(tmp_path))
    assert "pip install 'vitrine-serving[tracing]'" in said


def path_with(folder: Path) -> str:
    """The path of Python's modules, with a folder that comes before all others."""
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
