"""What traces and logs cost each call, in microseconds on the event loop's thread.

A call is what it is in the server: made, told of five stages, closed. Nothing is sent: in the SDK's own thread, spans
go to an exporter that drops them.

    python benchmarks/tracing.py --rounds 7 --calls 5000
"""

import statistics
import time
from collections.abc import Callable, Sequence
from unittest.mock import patch

import click
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from vitrine.server.frontends.grpc.metadata import request_id_of, trace_of
from vitrine.server.inference.call import Call, Outcome, Stage
from vitrine.server.telemetry.logs import log_call
from vitrine.server.telemetry.spans import Tracing
from vitrine.server.telemetry.tracing_config import TracingConfig

MICROSECONDS = 1_000_000
PLAIN = (("user-agent", "grpc-python/1.85.1"), ("authorization", "Bearer of-some-length"))
TRACED = (*PLAIN, ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))

Observers = Sequence[Callable[[Call], None]]
Metadata = tuple[tuple[str, str], ...]


class Nowhere(SpanExporter):
    """Takes spans and forgets them."""

    def export(self, _: Sequence[ReadableSpan]) -> SpanExportResult:
        """Says that they were sent."""
        return SpanExportResult.SUCCESS


def one_call(observers: Observers, metadata: Metadata) -> None:
    """A call's life, without what the service does in it."""
    call = Call("/vitrine.v1.ClassifierService/Classify", observers=observers, trace=trace_of(metadata))
    call.request_id = request_id_of(metadata)
    now = time.monotonic()
    for stage in Stage:
        call.passed(stage, now, now)
    call.finish(Outcome.OK)
    call.close()


def microseconds(observers: Observers, metadata: Metadata, calls: int) -> float:
    """The mean of so many calls."""
    begin = time.perf_counter()
    for _ in range(calls):
        one_call(observers, metadata)
    return (time.perf_counter() - begin) / calls * MICROSECONDS


@click.command()
@click.option("--rounds", default=7)
@click.option("--calls", default=5000)
def main(rounds: int, calls: int) -> None:
    """Measures each case in turns, and prints the median, the least and the most of the rounds."""
    with patch("vitrine.server.telemetry.spans.OTLPSpanExporter", lambda _: Nowhere()):
        all_of_them, none = (Tracing(TracingConfig("http://localhost:4317", ratio)) for ratio in (1.0, 0.0))
    cases: dict[str, tuple[Observers, Metadata]] = {
        "neither": ((), PLAIN),
        "access log at info": ((log_call,), PLAIN),
        "traced, caller sampled": ((log_call, all_of_them.observe), TRACED),
        "traced, ratio 1": ((log_call, all_of_them.observe), PLAIN),
        "traced, ratio 0": ((log_call, none.observe), PLAIN),
    }
    spent = [{name: microseconds(*case, calls) for name, case in cases.items()} for _ in range(rounds)]
    for name in cases:
        figures = [figure[name] for figure in spent]
        print(f"{name:24} {statistics.median(figures):6.1f} µs ({min(figures):.1f} to {max(figures):.1f}, n={rounds})")


if __name__ == "__main__":
    main()
