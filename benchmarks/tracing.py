"""Time of traces and access logs for one call, in microseconds on the event loop's thread.

    python -m benchmarks.tracing [--rounds 7] [--calls 5000] [--json]

A call goes through the same steps as in the server: created, told of five stages, closed. The service's own work is
left out. Spans go to an exporter that drops them, in the SDK's own thread. It prints the mean of `--calls` calls, as
the median over rounds, for each combination of observers.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from unittest.mock import patch

import click
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from benchmarks.harness.machine import machine, machine_line
from benchmarks.harness.rounds import in_turns
from benchmarks.harness.summary import Summary
from vitrine.server.inference.call import Call, Outcome, Stage
from vitrine.server.protocols.metadata import request_id_of, trace_of
from vitrine.server.telemetry.logs import log_call
from vitrine.server.telemetry.spans import Tracing
from vitrine.server.telemetry.tracing_config import TracingConfig

MICROSECONDS = 1_000_000
UNTRACED = (("user-agent", "grpc-python/1.85.1"), ("authorization", "Bearer of-some-length"))
TRACED = (*UNTRACED, ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))

Observers = Sequence[Callable[[Call], None]]
Metadata = tuple[tuple[str, str], ...]


class DroppingExporter(SpanExporter):
    """Drops spans."""

    def export(self, _: Sequence[ReadableSpan]) -> SpanExportResult:
        """Reports success."""
        return SpanExportResult.SUCCESS


@click.command()
@click.option("--rounds", default=7, show_default=True, help="Measurements of each case, in turns.")
@click.option("--calls", default=5000, show_default=True, help="Calls in each measurement.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def main(rounds: int, calls: int, as_json: bool) -> None:
    """Measure the time of traces and access logs for one call, and print it."""
    cases = make_cases()
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _, name in in_turns(list(cases), rounds):
        found[name].append(microseconds(*cases[name], calls))
    summaries = {name: Summary.of(values) for name, values in found.items()}
    if as_json:
        costs = {name: asdict(summary) for name, summary in summaries.items()}
        click.echo(json.dumps({"machine": machine("opentelemetry-sdk"), "us_per_call": costs}))
        return
    click.echo(machine_line("opentelemetry-sdk"))
    for name, summary in summaries.items():
        click.echo(f"{name:<24} {summary.text(1)} µs")


def make_cases() -> dict[str, tuple[Observers, Metadata]]:
    """Observers and request metadata of each case, by name."""
    with patch("vitrine.server.telemetry.spans.OTLPSpanExporter", lambda _: DroppingExporter()):
        every, none = (Tracing(TracingConfig("http://localhost:4317", ratio)) for ratio in (1.0, 0.0))
    return {
        "neither": ((), UNTRACED),
        "access log at info": ((log_call,), UNTRACED),
        "traced, caller sampled": ((log_call, every.observe), TRACED),
        "traced, ratio 1": ((log_call, every.observe), UNTRACED),
        "traced, ratio 0": ((log_call, none.observe), UNTRACED),
    }


def microseconds(observers: Observers, metadata: Metadata, calls: int) -> float:
    """Mean time of one call."""
    begin = time.perf_counter()
    for _ in range(calls):
        one_call(observers, metadata)
    return (time.perf_counter() - begin) / calls * MICROSECONDS


def one_call(observers: Observers, metadata: Metadata) -> None:
    """A call's steps in the server, without the service's work."""
    call = Call("/vitrine.v1.ClassifierService/Classify", observers=observers, trace=trace_of(metadata))
    call.request_id = request_id_of(metadata)
    now = time.monotonic()
    for stage in Stage:
        call.passed(stage, now, now)
    call.finish(Outcome.OK)
    call.close()


if __name__ == "__main__":
    main()
