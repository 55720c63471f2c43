"""Soaks a server: every kind of call for a long time, while its memory, open files and threads are sampled.

    python -m endurance.soak [--minutes 20] [--plot soak.png] [--json]

It starts `vitrine-server` on a model repository of its own. Callers are threads and tasks in this process. They send
single images and many, with every layer and none, prepared by client and server. They open streams and new connections,
send bad requests and impossible deadlines, and cancel. Every few seconds the repository changes: a version is added,
added but broken, or removed.

It prints outcomes by scenario, changes of the repository, and the growth of memory, open files and threads: slopes of
straight lines fitted by least squares, over all samples and over the second half. It exits with 1 when a call had an
unexpected outcome, the log tells of a fault, or the exit status wasn't 0. Growth without an end would end the server.
"""

import asyncio
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from typing import Any

import click

from benchmarks.harness.rounds import with_progress
from benchmarks.harness.servers import LoggedServer, logged_server
from endurance.frontend import frontend_option
from endurance.report import as_lines
from endurance.soaking.callers import Callers
from endurance.soaking.samples import Sample, plot_samples, sample_until, slopes
from endurance.versions import NAME, file_of, publish, withdraw

CHANGE_SECONDS = 3.0
CHANGES = ("good", "corrupt", "good", "truncated", "golden-mismatched", "rolled back")
"""Changes of the repository, in turns."""

KEPT_VERSIONS = 3
THREADS = 4
TASKS = 4
DRAIN_SECONDS = 30
MAX_SHOWN = 20
"""Unexpected outcomes, and faults, that are printed."""


@click.command()
@frontend_option
@click.option("--minutes", default=20.0, show_default=True, help="Duration.")
@click.option("--seed", default=0, show_default=True, help="Seed of the callers' scenarios.")
@click.option("--plot", type=click.Path(path_type=Path), help="File to plot the samples to.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with every sample.")
def main(minutes: float, seed: int, plot: Path | None, as_json: bool) -> None:
    """Soak a server, and print outcomes and growth."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "models")
        publish(root, 1, file_of("good", 1))
        settings = ("--metrics-port", 0, "--model-repository", root, "--reload-seconds", 0.5, "--versions", "latest:2")
        with logged_server(*map(str, settings), "--drain-seconds", str(DRAIN_SECONDS)) as server:
            callers = Callers(server.target, seed)
            samples, changes = run(callers, server, root, minutes)
            begin = time.monotonic()
            status = server.stop(2 * DRAIN_SECONDS)
            drained, faults = time.monotonic() - begin, unexplained(server.faults())
    figures = {
        "outcomes": dict(sorted(callers.outcomes.items())),
        "unexpected": dict(callers.unexpected.most_common(MAX_SHOWN)),
        "changes": dict(changes),
        "slopes": {name: str(slope) for name, slope in slopes(samples).items()},
        "seconds_to_drain": drained,
        "exit_status": status,
        "faults_in_log": faults[:MAX_SHOWN],
    }
    if plot is not None:
        plot_samples(samples, plot)
    click.echo(json.dumps(figures | {"samples": plain(samples)}, indent=2) if as_json else as_lines(figures))
    sys.exit(bool(callers.unexpected or faults or status))


def run(callers: Callers, server: LoggedServer, root: Path, minutes: float) -> tuple[list[Sample], Counter[str]]:
    """Runs callers, changes and samples at the same time; gives the samples and the changes by kind."""
    with ThreadPoolExecutor(THREADS + 3) as pool:
        sampling = pool.submit(sample_until, server, callers.enough)
        changing = pool.submit(change_repository, root, callers.enough)
        calling = [pool.submit(callers.call_from_thread, number) for number in range(THREADS)]
        calling.append(pool.submit(asyncio.run, callers.call_from_tasks(TASKS)))
        try:
            for _ in with_progress(range(round(minutes * 60)), "soaking"):
                time.sleep(1)
        finally:
            callers.enough.set()
        for caller in calling:
            caller.result()
        return sampling.result(), changing.result()


def change_repository(root: Path, enough: threading.Event) -> Counter[str]:
    """Changes the repository every few seconds until `enough`; gives the changes by kind."""
    done, good = Counter[str](), [1]
    for version, kind in enumerate(cycle(CHANGES), start=2):
        if enough.wait(CHANGE_SECONDS):
            return done
        done[kind] += 1
        if kind == "rolled back":
            withdraw(root, good.pop())
            continue
        publish(root, version, file_of(kind, version))
        if kind == "good":
            good.append(version)
        else:
            enough.wait(CHANGE_SECONDS)  # time for the server to try it
            withdraw(root, version)
        while len(good) > KEPT_VERSIONS:
            withdraw(root, good.pop(0))
    return done


def unexplained(faults: Sequence[str]) -> list[str]:
    """Faults in the log without those about broken versions, which are published on purpose."""
    return [fault for fault in faults if f"{NAME}@" not in fault]


def plain(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """All samples as plain data, for JSON."""
    return [{"minutes": sample.minutes, **asdict(sample.usage)} for sample in samples]


if __name__ == "__main__":
    main()
