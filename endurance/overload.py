"""Offers a server several times its capacity, and tells whether it keeps its goodput and its latency.

    python -m endurance.overload [--seconds 60] [--times 5] [--json]

It measures one `vitrine-server`, in this order:

1. capacity: a closed loop that just fills the queue
2. unloaded latency: an open loop at a moderate share of the capacity
3. overload: an open loop at a multiple of the capacity

It prints rates, latencies, status codes and memory. It exits with 1 when goodput under overload is below 0.85 of the
capacity, the accepted calls' p99 is above 3 times the unloaded p99, a call failed other than by refusal, or the log
tells of a fault. Latencies of an open loop count from the moment at which a call was due.

The load must take nothing from what it measures: the server has CPUs of its own, and a request takes the server far
longer than its caller; the output tells the rate that was truly offered, and the delay of sending. Requests that are
cheap for the server (`--images 1`) can't be offered without disturbing it, and a refusal costs it about as much as an
answer. A proxy in front of it, or more workers, limit such requests better.

`--max-pending-images` limits the server's queue, here to `--queued` requests. An operator sets it to the images that
the server classifies in the time that a caller may wait: capacity in images/s × the latency goal in seconds.
"""

import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.harness.rounds import log_progress
from benchmarks.harness.servers import LoggedServer, logged_server
from endurance.frontend import frontend_option
from endurance.load_generator import Load, Seconds, closed_loop, open_loop
from endurance.report import as_lines
from vitrine.v1 import classifier_pb2 as pb

SAMPLE_SECONDS = 0.2
MIN_GOODPUT_RATIO = 0.85
"""Goodput under overload, as a share of the capacity."""

MAX_LATENCY_RATIO = 3.0
"""Accepted calls' p99 under overload, as a multiple of the unloaded p99."""


@click.command()
@frontend_option
@click.option("--seconds", default=60.0, show_default=True, help="Duration of the overload.")
@click.option("--times", default=5.0, show_default=True, help="Offered rate, as a multiple of the capacity.")
@click.option("--moderate", default=0.5, show_default=True, help="Share of the capacity for the unloaded latency.")
@click.option("--images", default=128, show_default=True, help="Images in each request.")
@click.option("--hidden", default="2048,1024", show_default=True, help="Hidden layers of the model.")
@click.option("--queued", default=4, show_default=True, help="Requests that the server holds at most.")
@click.option("--processes", default=1, show_default=True, help="Client processes; each takes a CPU when busy.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def main(
    seconds: float, times: float, moderate: float, images: int, hidden: str, queued: int, processes: int, as_json: bool
) -> None:
    """Overload a server, and print its rates and latencies."""
    from benchmarks.harness.artifacts import export_random  # loads torch, and client processes import this module too

    cpus = sorted(os.sched_getaffinity(0))
    half = max(1, len(cpus) // 2)
    limits = ("--max-images", images, "--max-pending-images", queued * images, "--log-level", "warning")
    with tempfile.TemporaryDirectory() as folder:
        model = export_random(Path(folder, "wide.onnx"), [int(width) for width in hidden.split(",")])
        with logged_server(model, *map(str, limits), cpus=cpus[:half]) as server:
            load = Load(server.target, request_of(images), tuple(cpus[half:] or cpus), processes)
            figures = {"images": images, "queued": queued} | measure(server, load, seconds, times, moderate, queued)
            figures["faults_in_log"] = len(server.faults())
    click.echo(json.dumps(figures, indent=2) if as_json else as_lines(figures))
    sys.exit(not good(figures))


def request_of(images: int) -> bytes:
    """A serialized request without activations; its pixels are noise."""
    pixels = pb.Tensor(shape=[images, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=os.urandom(images * 324))
    return pb.ClassifyRequest(pixels=pixels).SerializeToString()


def measure(
    server: LoggedServer, load: Load, seconds: float, times: float, moderate: float, queued: int
) -> dict[str, Any]:
    """Capacity, unloaded latency and overload, then capacity once more."""
    log_progress("1/4 capacity")
    closed_loop(load, seconds / 10, queued)  # warm-up
    capacity = closed_loop(load, seconds / 3, queued).goodput
    idle = server.usage().rss_kib
    log_progress("2/4 unloaded latency")
    unloaded = open_loop(load, seconds / 2, moderate * capacity)
    log_progress("3/4 overload")
    with peak_of(lambda: server.usage().rss_kib) as peak:
        overload = open_loop(load, seconds, times * capacity)
    log_progress("4/4 capacity afterwards")
    after = closed_loop(load, seconds / 10, queued).goodput
    p99 = percentile_ms(unloaded.latencies, 99)
    return {
        "capacity_per_second": capacity,
        "unloaded_p50_ms": percentile_ms(unloaded.latencies, 50),
        "unloaded_p99_ms": p99,
        "offered_per_second": overload.offered,
        "offered_times_capacity": overload.offered / capacity,
        "sent_late_p99_ms": percentile_ms(overload.lateness, 99),
        "goodput_per_second": overload.goodput,
        "goodput_ratio": overload.goodput / capacity,
        "codes": dict(overload.codes),
        "unexpected": sorted(overload.unexpected)[:10],
        "accepted_p50_ms": percentile_ms(overload.latencies, 50),
        "accepted_p99_ms": percentile_ms(overload.latencies, 99),
        "p99_ratio": percentile_ms(overload.latencies, 99) / p99,
        "refused_p50_ms": percentile_ms(overload.refusals, 50),
        "refused_p99_ms": percentile_ms(overload.refusals, 99),
        "capacity_afterwards_per_second": after,
        "rss_before_mib": idle / 1024,
        "rss_peak_mib": peak[0] / 1024,
    }


def good(figures: dict[str, Any]) -> bool:
    """True if the server met its goals."""
    only_refused = not figures["unexpected"] and not figures["faults_in_log"]
    fast = figures["goodput_ratio"] >= MIN_GOODPUT_RATIO and figures["p99_ratio"] <= MAX_LATENCY_RATIO
    return bool(only_refused and fast)


def percentile_ms(seconds: Seconds, percent: float) -> float:
    """Percentile in milliseconds; 0 for no values."""
    return float(np.percentile(seconds, percent)) * 1000 if len(seconds) else 0.0


@contextmanager
def peak_of(sample: Callable[[], int]) -> Iterator[list[int]]:
    """Largest sample during the block, as the list's only element."""
    peak, enough = [sample()], threading.Event()

    def keep_sampling() -> None:
        while not enough.wait(SAMPLE_SECONDS):
            peak[0] = max(peak[0], sample())

    thread = threading.Thread(target=keep_sampling)
    thread.start()
    try:
        yield peak
    finally:
        enough.set()
        thread.join()


if __name__ == "__main__":
    main()
