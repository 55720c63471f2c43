"""What a server does when it is asked for several times as much as it can do.

It measures, one after the other, on one `vitrine-server` of its own:

1. the capacity: a closed loop that keeps the queue just full
2. the unloaded latency: an open loop at a moderate share of the capacity
3. overload: an open loop at a multiple of the capacity

An open loop sends at times that are drawn beforehand, whatever comes back, and latencies count from those times. So
that the load takes nothing from what it measures, the server has CPUs of its own, requests are bytes that were made
once, and each takes the server far longer than its caller; the table says how much was truly offered, and how late.
Requests that are cheap for the server (`--images 1`) can't be offered so without disturbing it, and to refuse one takes
it about as long as to answer it: it then is best limited by what stands before it, or by more workers.

The server's queue is limited by `--max-pending-images`, here to `--queued` requests. An operator takes the number of
images that the server does in the time that a caller may wait: capacity in images/s × the latency goal in seconds.
"""

import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import grpc
import grpc.aio
import numpy as np
import numpy.typing as npt

from benchmarks.harness.servers import OWN_CONNECTION, LoggedServer, logged_server
from vitrine.v1 import classifier_pb2 as pb

CLASSIFY = "/vitrine.v1.ClassifierService/Classify"
CHANNELS = 8
"""Of each client's process."""

PATIENCE_SECONDS = 20
START_SECONDS = 5.0
"""How long the client's processes get to start before the first request is due."""

SAMPLE_SECONDS = 0.2

EXPECTED = (grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED)
"""How calls may end: done, or refused."""

GOODPUT_RATIO, LATENCY_RATIO = 0.85, 3.0
"""What the server should reach."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the clients' processes send."""

    target: str
    request: bytes
    cpus: tuple[int, ...]
    """Where they run."""
    processes: int


@dataclass(frozen=True, slots=True)
class Calls:
    """How calls ended."""

    codes: Counter[str]
    unexpected: set[str]
    """What was said with other codes than those of accepting and refusing."""
    latencies: npt.NDArray[np.float64]
    """Seconds that each accepted call took, from when it was due."""
    refusals: npt.NDArray[np.float64]
    """The same of those that were refused."""
    lateness: npt.NDArray[np.float64]
    """Seconds by which each was sent later than it was due."""
    seconds: float
    """From when the first was due until the last was."""

    @property
    def goodput(self) -> float:
        """Accepted calls a second."""
        return self.codes["OK"] / self.seconds

    @property
    def offered(self) -> float:
        """Calls a second."""
        return self.codes.total() / self.seconds


@click.command()
@click.option("--seconds", default=60.0, show_default=True, help="How long the overload takes.")
@click.option("--times", default=5.0, show_default=True, help="How many times the capacity is offered then.")
@click.option(
    "--moderate", default=0.5, show_default=True, help="The share of the capacity that is no load to speak of."
)
@click.option("--images", default=128, show_default=True, help="Images in each request.")
@click.option("--hidden", default="2048,1024", show_default=True, help="The model's hidden layers.")
@click.option("--queued", default=4, show_default=True, help="How many requests may wait or be calculated at once.")
@click.option("--processes", default=1, show_default=True, help="How many processes send; each takes a CPU when busy.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def main(
    seconds: float, times: float, moderate: float, images: int, hidden: str, queued: int, processes: int, as_json: bool
) -> None:
    """Overload a server, and print how it bore that."""
    from benchmarks.harness.artifacts import (
        export_random,  # only here: it loads torch, and the client's processes import this module too
    )

    cpus = sorted(os.sched_getaffinity(0))
    half = max(1, len(cpus) // 2)
    limits = ("--max-images", images, "--max-pending-images", queued * images, "--log-level", "warning")
    with tempfile.TemporaryDirectory() as folder:
        model = export_random(Path(folder, "wide.onnx"), [int(width) for width in hidden.split(",")])
        with logged_server(model, *map(str, limits), cpus=cpus[:half]) as server:
            load = Load(server.target, request_of(images), tuple(cpus[half:] or cpus), processes)
            figures = {"images": images, "queued": queued} | measure(server, load, seconds, times, moderate, queued)
            figures["faults_in_log"] = len(server.faults())
    click.echo(json.dumps(figures, indent=2) if as_json else table(figures))
    sys.exit(not good(figures))


def request_of(images: int) -> bytes:
    """A request, as the bytes that go over the wire; no activations are asked for."""
    pixels = pb.Tensor(shape=[images, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=os.urandom(images * 324))
    return pb.ClassifyRequest(pixels=pixels).SerializeToString()


def measure(
    server: LoggedServer, load: Load, seconds: float, times: float, moderate: float, queued: int
) -> dict[str, Any]:
    """The three measurements."""
    closed_loop(load, seconds / 10, queued)  # warms up
    capacity = closed_loop(load, seconds / 3, queued).goodput
    idle = server.usage().rss_kib
    unloaded = open_loop(load, seconds / 2, moderate * capacity)
    with peak_of(lambda: server.usage().rss_kib) as peak:
        overload = open_loop(load, seconds, times * capacity)
    after = closed_loop(load, seconds / 10, queued).goodput
    p99 = percentile(unloaded.latencies, 99)
    return {
        "capacity_per_second": capacity,
        "unloaded_p50_ms": percentile(unloaded.latencies, 50),
        "unloaded_p99_ms": p99,
        "offered_per_second": overload.offered,
        "offered_times_capacity": overload.offered / capacity,
        "sent_late_p99_ms": percentile(overload.lateness, 99),
        "goodput_per_second": overload.goodput,
        "goodput_ratio": overload.goodput / capacity,
        "codes": dict(overload.codes),
        "unexpected": sorted(overload.unexpected)[:10],
        "accepted_p50_ms": percentile(overload.latencies, 50),
        "accepted_p99_ms": percentile(overload.latencies, 99),
        "p99_ratio": percentile(overload.latencies, 99) / p99,
        "refused_p50_ms": percentile(overload.refusals, 50),
        "refused_p99_ms": percentile(overload.refusals, 99),
        "capacity_afterwards_per_second": after,
        "rss_before_mib": idle / 1024,
        "rss_peak_mib": peak[0] / 1024,
    }


def good(figures: dict[str, Any]) -> bool:
    """Whether the server did what it should."""
    only_refused = not figures["unexpected"] and not figures["faults_in_log"]
    return bool(only_refused and figures["goodput_ratio"] >= GOODPUT_RATIO and figures["p99_ratio"] <= LATENCY_RATIO)


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    return "\n".join(
        f"{name:<32} {value:,.2f}" if isinstance(value, float) else f"{name:<32} {value}"
        for name, value in figures.items()
    )


def percentile(seconds: npt.NDArray[np.float64], percent: float) -> float:
    """In milliseconds; 0 where there is nothing."""
    return float(np.percentile(seconds, percent)) * 1000 if len(seconds) else 0.0


@contextmanager
def peak_of(sample: Callable[[], int]) -> Iterator[list[int]]:
    """The largest of the samples taken while the block lasts, as the list's only element."""
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


def closed_loop(load: Load, seconds: float, width: int) -> Calls:
    """So many callers in all, each of which calls again as soon as it has its answer."""
    each = [width // load.processes + (i < width % load.processes) for i in range(load.processes)]
    return _in_processes(load, seconds, [(_closed, callers) for callers in each if callers])


def open_loop(load: Load, seconds: float, rate: float) -> Calls:
    """Calls at random times, so many a second on average, whatever comes of them."""
    return _in_processes(load, seconds, [(_open, rate / load.processes)] * load.processes)


def _in_processes(load: Load, seconds: float, parts: Sequence[tuple[Callable[..., Any], float]]) -> Calls:
    begin = time.monotonic() + START_SECONDS
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(parts), context) as pool:
        running = [
            pool.submit(_client, load, send, amount, begin, seconds, number)
            for number, (send, amount) in enumerate(parts)
        ]
        return _joined([future.result() for future in running], seconds)


def _joined(parts: Sequence[Calls], seconds: float) -> Calls:
    codes: Counter[str] = sum((part.codes for part in parts), Counter())
    unexpected = {text for part in parts for text in part.unexpected}
    columns = zip(*((part.latencies, part.refusals, part.lateness) for part in parts), strict=True)
    latencies, refusals, lateness = map(np.concatenate, columns)
    return Calls(codes, unexpected, latencies, refusals, lateness, seconds)


def _client(load: Load, send: Callable[..., Any], amount: float, begin: float, seconds: float, number: int) -> Calls:
    """One process: pins itself, and sends."""
    os.sched_setaffinity(0, load.cpus)
    return asyncio.run(_send(load, send, amount, begin, seconds, number))


async def _send(
    load: Load, send: Callable[..., Any], amount: float, begin: float, seconds: float, number: int
) -> Calls:
    channels = [grpc.aio.insecure_channel(load.target, OWN_CONNECTION) for _ in range(CHANNELS)]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    client = _Client(load.request, channels)
    if (wait := begin - time.monotonic()) < 0:
        raise RuntimeError(f"the client's process took {-wait:.1f} s too long to start: raise START_SECONDS")
    await asyncio.sleep(wait)
    await send(client, amount, begin, seconds, number)
    await asyncio.gather(*(channel.close() for channel in channels))
    return client.calls(seconds)


async def _closed(client: "_Client", callers: float, begin: float, seconds: float, _: int) -> None:
    async def call_on() -> None:
        while (now := time.monotonic()) < begin + seconds:
            await client.call(now)

    await asyncio.gather(*(call_on() for _ in range(int(callers))))


async def _open(client: "_Client", rate: float, begin: float, seconds: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    due = begin + np.cumsum(rng.exponential(1 / rate, int(rate * seconds * 1.5) + 10))
    async with asyncio.TaskGroup() as calls:
        for moment in due[due < begin + seconds].tolist():
            if (wait := moment - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            calls.create_task(client.call(moment))


class _Client:
    """Sends one request again and again, and notes how that ends."""

    def __init__(self, request: bytes, channels: Sequence[grpc.aio.Channel]) -> None:
        self._request = request
        self._methods: list[Any] = [channel.unary_unary(CLASSIFY) for channel in channels]
        self._codes: Counter[str] = Counter()
        self._unexpected: set[str] = set()
        self._latencies: dict[bool, list[float]] = {True: [], False: []}
        self._lateness: list[float] = []

    async def call(self, due: float) -> None:
        """One call, which was due at a moment."""
        method = self._methods[len(self._lateness) % len(self._methods)]
        self._lateness.append(time.monotonic() - due)
        try:
            await method(self._request, timeout=PATIENCE_SECONDS)
            code = grpc.StatusCode.OK
        except grpc.aio.AioRpcError as error:
            code = error.code()
            if code not in EXPECTED:
                self._unexpected.add(f"{code.name}: {error.details()}")
        self._codes[code.name] += 1
        self._latencies[code is grpc.StatusCode.OK].append(time.monotonic() - due)

    def calls(self, seconds: float) -> Calls:
        """What it has noted."""
        accepted, refused, late = map(np.array, (self._latencies[True], self._latencies[False], self._lateness))
        return Calls(self._codes, self._unexpected, accepted, refused, late, seconds)


if __name__ == "__main__":
    main()
