"""How many calls fail while servers are stopped and started again under load: none should.

Two servers stand behind one target of the SDK; callers call all the time, and check each answer; the servers are
stopped with SIGTERM and started again in turns.
"""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from benchmarks.harness.servers import start
from vitrine.client import Client, VitrineError

QUIET = ("--log-level", "error")
EIGHT = Path(__file__).parents[1] / "examples" / "eight.png"


@click.command()
@click.option("--restarts", default=20, help="How often a server is restarted.")
@click.option("--callers", default=16, help="How many calls are under way at once.")
def main(restarts: int, callers: int) -> None:
    """Restart servers under load, and print how the calls ended."""
    servers, outcomes, stop = [start(*QUIET), start(*QUIET)], Counter[str](), threading.Event()
    target = "ipv4:" + ",".join(server.target for server in servers)
    with Client(target) as client, ThreadPoolExecutor(callers) as pool:
        calling = [pool.submit(call_on, client, outcomes, stop) for _ in range(callers)]
        statuses = []
        for turn in range(restarts):
            place = turn % len(servers)
            statuses.append(servers[place].stop())
            servers[place] = start(*QUIET, port=servers[place].port)
        stop.set()
        for call in calling:
            call.result()
    statuses += [server.stop() for server in servers]
    click.echo(f"{restarts} restarts, {callers} callers: {dict(outcomes)}; exit statuses {sorted(set(statuses))}")


def call_on(client: Client, outcomes: Counter[str], stop: threading.Event) -> None:
    """Calls until told to stop, and counts how the calls end."""
    image = EIGHT.read_bytes()
    while not stop.is_set():
        try:
            right = client.classify(image, activations=None, preparation="server").digit == 8
            outcomes["right" if right else "wrong"] += 1
        except VitrineError as error:
            outcomes[str(error)] += 1


if __name__ == "__main__":
    main()
