"""A real server's costs, and its latencies at random calls, beside those that the simulation foretells."""

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from benchmarks.harness.rounds import with_progress
from benchmarks.harness.servers import VITRINE_SERVER, Server, logged_server, running
from benchmarks.peers.http2 import Http2Connection
from benchmarks.peers.load import WARM_UP, Connect, closed_loop, open_loop
from benchmarks.scale.simulation import Costs, Seconds, Simulated, poisson, simulate
from benchmarks.throughput import ACTIVATIONS, Load, measure_all, request_of
from vitrine.server.engine.device import Device
from vitrine.server.engine.loading import load_artifact
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

CLASSIFY = "/vitrine.v1.ClassifierService/Classify"
ONE_IMAGE = Load(images=1, activations="none")
LOADS = (0.3, 0.6, 0.9)
"""Offered calls, as shares of the capacity."""

CONNECTIONS, CALLS = 8, 4
"""Of the closed loop that finds the capacity."""

FEWEST_CALLS = 10
"""In the lightest load of a round: fewer have no percentiles."""

FITS = 3
"""Simulations, one after the other: how many calls share a run is known from the one before."""

FRONTENDS = ("grpc", "envoy")
COSTLY_LOADS = [Load(images, activations) for images in (1, 64, 512) for activations in ACTIVATIONS]
"""Loads whose CPU time tells the costs of calls, images and bytes apart."""

CALLERS = 8
"""Callers of these loads: answers of megabytes, and few of them, keep a server as busy."""

QUIET = ("--log-level", "error")

MEASURED_RUNS = 400
MANY_ROWS = 32


def costs(model: Path, seconds: float, rounds: int) -> list[dict[str, Any]]:
    """CPU time of each front end for each load, with the bytes of its messages; one worker, metrics off."""
    found = []
    with running(model, *QUIET) as server:
        bytes_of = {load: sizes(server, load) for load in COSTLY_LOADS}
    for frontend in FRONTENDS:
        arguments = [str(model), *QUIET, "--frontend", frontend]
        measured = measure_all({"server": VITRINE_SERVER}, COSTLY_LOADS, arguments, CALLERS, seconds, rounds)
        for load, of_it in measured.items():
            activations, others = bytes_of[load]
            found.append(
                {
                    "frontend": frontend,
                    **asdict(load),
                    "activation_bytes": activations,
                    "other_bytes": others,
                    "cpu_us": [each.cpu_us_per_request for each in of_it["server"]],
                }
            )
    return found


def sizes(server: Server, load: Load) -> tuple[int, int]:
    """Bytes of activations in a load's answer; and bytes of request and answer that are neither those nor pixels."""
    request = request_of(load, server.target)
    with grpc.insecure_channel(server.target) as channel:
        answer = ClassifierServiceStub(channel).Classify(request)
    activations = sum(len(tensor.data) for tensor in answer.activations)
    return activations, request.ByteSize() - len(request.pixels.data) + answer.ByteSize() - activations


def waiting(model: Path, seconds: float, rounds: int) -> list[dict[str, Any]]:
    """Rounds of `queueing_round`: the server on one core, and this process, its client, on another."""
    run, cpus = run_costs(model), sorted(os.sched_getaffinity(0))
    with logged_server(model, *QUIET, cpus=cpus[:1]) as server, _on(cpus[-1]):
        return [queueing_round(server, run, seconds, seed) for seed in with_progress(range(rounds), length=rounds)]


@contextmanager
def _on(cpu: int) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run_costs(model: Path) -> tuple[float, float]:
    """Seconds of a run whatever its rows, and of each row: medians, in this process."""
    served = load_artifact(model, Device.CPU)
    seconds = []
    for rows in (1, MANY_ROWS):
        pixels, times = np.zeros((rows, *served.metadata.input.shape), np.uint8), []
        for _ in range(MEASURED_RUNS):
            begin = time.perf_counter()
            served.engine.run(pixels, served.required_outputs)
            times.append(time.perf_counter() - begin)
        seconds.append(float(np.median(times)))
    row = (seconds[1] - seconds[0]) / (MANY_ROWS - 1)
    return seconds[0] - row, row


def queueing_round(server: Server, run: tuple[float, float], seconds: float, seed: int) -> dict[str, Any]:
    """One round: the capacity, and then each load, measured and simulated.

    Args:
        server: the server, with one worker on one core; this process has another.
        run: what `run_costs` has found.
        seconds: the time of each load.
        seed: of the moments of calls.

    Raises:
        TimeoutError: the server answers too few calls in this time, or the machine stood still.
    """
    connect = connecting(server)
    lone = closed_loop(connect, 1, 1, seconds / 4).p50_ms / 1000
    loads, capacity = [], closed_loop(connect, CONNECTIONS, CALLS, seconds / 4).good_per_second
    if math.isnan(lone) or min(LOADS) * capacity * seconds < FEWEST_CALLS:
        raise TimeoutError(f"the lightest load has fewer than {FEWEST_CALLS} calls in {seconds:g} s: measure longer")
    for load in LOADS:
        rate = load * capacity
        begin, spent = time.perf_counter(), server.cpu_seconds()
        seen = open_loop(connect, CONNECTIONS, rate, seconds, seed)
        spent, taken = server.cpu_seconds() - spent, time.perf_counter() - begin
        arrivals = poisson(rate, int(2 * rate * seconds) + 100, seed)  # the very moments of the open loop
        arrivals = arrivals[arrivals < (1 + WARM_UP) * seconds]
        costs, foretold = fitted_to(spent / len(arrivals), lone, run, arrivals)
        p50, p99 = np.percentile(foretold.latencies[arrivals >= WARM_UP * seconds], (50, 99)) * 1000
        loads.append(
            {
                "load": load,
                "busy": spent / taken,
                "calls": round(seen.offered_per_second * seconds),
                "bad": seen.bad,
                "measured": {"p50_ms": seen.p50_ms, "p99_ms": seen.p99_ms},
                "simulated": {"p50_ms": float(p50), "p99_ms": float(p99)},
                "costs": asdict(costs),
                "rows_per_run": len(arrivals) / foretold.runs,
            }
        )
    return {"capacity": capacity, "loads": loads}


def fitted_to(each: float, lone: float, run: tuple[float, float], arrivals: Seconds) -> tuple[Costs, Simulated]:
    """The simulation whose core is as busy as the server's was. Latencies of random calls aren't looked at.

    Args:
        each: CPU seconds of a call, on average.
        lone: seconds of a call that is alone.
        run: seconds of a run whatever its rows, and of each row.
        arrivals: the moments of the calls.

    A call's own CPU time is what its share of a run leaves of `each`: half of it comes before the run, half after.
    """
    (whole, row), share = run, 1.0
    for _ in range(FITS):
        own = each - row - whole * share
        costs = Costs(own / 2, own / 2, whole, row, rest=max(0.0, lone - each))
        found = simulate(arrivals, costs)
        share = found.runs / len(arrivals)
    return costs, found


def connecting(server: Server) -> Connect:
    """Opens connections that send one image and ask for no layers."""
    request = request_of(ONE_IMAGE, server.target).SerializeToString()
    return partial(Http2Connection, "127.0.0.1", server.port, CLASSIFY, request, 4)
