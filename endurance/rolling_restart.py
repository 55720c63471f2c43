"""Restarts servers in turns under load, and counts failed and wrong answers: there should be none.

    python -m endurance.rolling_restart [--restarts 20] [--callers 16] [--json]

Two servers stand behind one target of the SDK, which retries as usual. Callers check each answer while the servers are
stopped with SIGTERM and started again on their port. It prints how calls and servers ended. It exits with 1 when a call
failed, an answer was wrong, or a server's exit status wasn't 0.
"""

import json
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from benchmarks.harness.rounds import with_progress
from benchmarks.harness.servers import Server, start
from endurance.frontend import frontend_option
from endurance.report import as_lines
from vitrine.client import Client, VitrineError

QUIET = ("--log-level", "error")
EIGHT = Path(__file__).parents[1] / "examples" / "eight.png"


@click.command()
@frontend_option
@click.option("--restarts", default=20, show_default=True, help="Restarts of a server.")
@click.option("--callers", default=16, show_default=True, help="Calls in flight.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def main(restarts: int, callers: int, as_json: bool) -> None:
    """Restart servers under load, and print how calls and servers ended."""
    servers, outcomes, enough = [start(*QUIET), start(*QUIET)], Counter[str](), threading.Event()
    target = "ipv4:" + ",".join(server.target for server in servers)
    with Client(target) as client, ThreadPoolExecutor(callers) as pool:
        calling = [pool.submit(call_until, client, outcomes, enough) for _ in range(callers)]
        try:
            statuses = restart_in_turns(servers, restarts)
        finally:
            enough.set()
        for call in calling:
            call.result()
    statuses += [server.stop() for server in servers]
    figures = {"restarts": restarts, "calls": dict(outcomes), "exit_statuses": sorted(set(statuses))}
    click.echo(json.dumps(figures) if as_json else as_lines(figures))
    sys.exit(set(outcomes) != {"right"} or any(statuses))


def restart_in_turns(servers: list[Server], restarts: int) -> list[int]:
    """Replaces the servers one after the other; gives the exit statuses of those that were stopped."""
    statuses = []
    for turn in with_progress(range(restarts), "restarting"):
        place = turn % len(servers)
        statuses.append(servers[place].stop())
        servers[place] = start(*QUIET, port=servers[place].port)
    return statuses


def call_until(client: Client, outcomes: Counter[str], enough: threading.Event) -> None:
    """One caller: sends the next call after each answer, and counts outcomes."""
    image = EIGHT.read_bytes()
    while not enough.is_set():
        try:
            right = client.classify(image, activations=None, preparation="server").digit == 8
            outcomes["right" if right else "wrong"] += 1
        except VitrineError as error:
            outcomes[str(error)] += 1


if __name__ == "__main__":
    main()
