"""Calls several servers by one client while one is killed, one added and one drained; counts failures and the spread.

    python -m endurance.many_servers [--calls 30000] [--callers 16] [--json]

Three servers answer at first, each at a loopback address of its own. Then one is killed, a new one started, and one
drained, while calls go on. After each change, a quarter of the calls is made. It prints how calls ended, and how evenly
each quarter was spread over the servers: the largest share less the smallest, over the mean. It exits with 1 when a
call failed or a quarter was spread more unevenly than 10 %.
"""

import json
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import click
import grpc
import numpy as np

from benchmarks.harness.rounds import with_progress
from benchmarks.harness.servers import Server, start
from endurance.report import as_lines
from vitrine.client import Client, VitrineError
from vitrine.oip import inference_pb2
from vitrine.oip.inference_pb2_grpc import GRPCInferenceServiceStub

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
ADDED_HOST = "127.0.0.4"
QUIET = ("--log-level", "error")
PIXELS = np.zeros((18, 18), np.uint8)
ANSWERED = "answered"
EVEN = 0.1
"""Largest difference of two servers' shares, over their mean."""


@click.command()
@click.option("--calls", default=30_000, show_default=True, help="Calls in all.")
@click.option("--callers", default=16, show_default=True, help="Calls in flight.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def main(calls: int, callers: int, as_json: bool) -> None:
    """Call several servers that come and go, and print how calls ended and were spread."""
    servers = [start(*QUIET, "--host", host) for host in HOSTS]
    port = free_port()
    addresses = [*(server.target for server in servers), f"{ADDED_HOST}:{port}"]
    tally, enough, spread = Tally(), threading.Event(), list[float]()
    changes: Sequence[Callable[[], object]] = (
        lambda: None,
        lambda: servers.pop(0).process.kill(),
        lambda: servers.append(start(*QUIET, "--host", ADDED_HOST, port=port)),
        lambda: servers.pop(0).stop(),
    )
    with Client("ipv4:" + ",".join(addresses)) as client, ThreadPoolExecutor(callers) as pool:
        calling = [pool.submit(call_until, client, tally, enough) for _ in range(callers)]
        try:
            for change in with_progress(changes, "changing servers"):
                change()
                while not all(gained(servers, tally, callers)):  # the client connects to a new one in its time
                    pass
                spread.append(unevenness(gained(servers, tally, calls // len(changes))))
        finally:
            enough.set()
        for each in calling:
            each.result()
    for server in servers:
        server.stop()
    figures = {"calls": dict(tally.outcomes), "spread": [round(each, 4) for each in spread]}
    click.echo(json.dumps(figures) if as_json else as_lines(figures))
    sys.exit(set(tally.outcomes) != {ANSWERED} or max(spread) > EVEN)


class Tally:
    """The outcomes of calls, which can be waited for."""

    def __init__(self) -> None:
        self.outcomes = Counter[str]()
        self._changed = threading.Condition()

    def add(self, outcome: str) -> None:
        """Counts a call."""
        with self._changed:
            self.outcomes[outcome] += 1
            self._changed.notify_all()

    def wait_for(self, calls: int) -> None:
        """Waits for some more calls."""
        with self._changed:
            wanted = self.outcomes.total() + calls
            self._changed.wait_for(lambda: self.outcomes.total() >= wanted)


def call_until(client: Client, tally: Tally, enough: threading.Event) -> None:
    """One caller: sends the next call after each answer."""
    while not enough.is_set():
        try:
            client.classify(PIXELS, preparation="none", activations=None)
            tally.add(ANSWERED)
        except VitrineError as error:
            tally.add(str(error))


def gained(servers: Sequence[Server], tally: Tally, calls: int) -> list[int]:
    """The images that each server answers during some calls."""
    before = [answered(server) for server in servers]
    tally.wait_for(calls)
    return [answered(server) - had for server, had in zip(servers, before, strict=True)]


def free_port() -> int:
    """A port at the address of the server that is added, which clients know from the beginning."""
    with socket.create_server((ADDED_HOST, 0)) as found:
        return int(found.getsockname()[1])


def answered(server: Server) -> int:
    """Images that a server has classified, as it counts them itself."""
    with grpc.insecure_channel(server.target) as channel:
        statistics = GRPCInferenceServiceStub(channel).ModelStatistics(inference_pb2.ModelStatisticsRequest())
        return sum(model.inference_count for model in statistics.model_stats)


def unevenness(shares: Sequence[int]) -> float:
    """The largest share less the smallest, over their mean; 0: all are alike."""
    return (max(shares) - min(shares)) * len(shares) / max(1, sum(shares))


if __name__ == "__main__":
    main()
