"""Everything at once for a long time: what a server holds more of with every minute, it would end by.

It starts `vitrine-server` with a model repository of its own, and calls it from this process in every way that the SDK
has, and some that it hasn't: from threads and from an event loop, single images and many, every layer and none, images
prepared here and there, streams, bad requests, deadlines that can't be kept, callers that cancel, connections that come
and go. Every few seconds the repository changes: a version comes, one that is broken, one goes. The server's memory,
open files and threads are sampled all along; their slopes are those of straight lines fitted by least squares.
"""

import asyncio
import json
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any

import click
import grpc
import grpc.aio

from benchmarks.harness.servers import LoggedServer, logged_server
from endurance.reloads import NAME, file_of, publish
from endurance.soaking.samples import Sample, draw, sample_until, slopes
from endurance.soaking.ways import ASYNC_WAYS, WAYS
from vitrine.client import AsyncClient, Client, VitrineError

RELOAD_SECONDS = 3.0
RELOADS = ("good", "corrupt", "good", "truncated", "golden-mismatched", "rolled back")
"""What becomes of the repository, in turns."""

KEPT_VERSIONS = 3
THREADS = 4
TASKS = 4
DRAIN_SECONDS = 30


class Soak:
    """The callers of one server, and what they noticed.

    Args:
        target: where it listens.
        seed: what decides who calls how.
    """

    def __init__(self, target: str, seed: int) -> None:
        self._target = target
        self._seed = seed
        self.outcomes: Counter[str] = Counter()
        self.unexpected: Counter[str] = Counter()
        self.enough = threading.Event()

    def call_from_a_thread(self, number: int) -> None:
        """One thread that calls in all the ways that wait, until it is enough."""
        rng = random.Random(self._seed + number)
        with Client(self._target) as client:
            while not self.enough.is_set():
                self._note(way := rng.choice(WAYS), lambda way=way: way(client))  # type: ignore[misc]

    async def call_from_a_task(self, number: int) -> None:
        """One task that calls in all the ways that don't wait, until it is enough."""
        rng = random.Random(self._seed - 1 - number)
        async with AsyncClient(self._target) as client, grpc.aio.insecure_channel(self._target) as channel:
            while not self.enough.is_set():
                way = rng.choice(ASYNC_WAYS)
                try:
                    await way(client, channel)
                    self.outcomes[f"{way.__name__}: as expected"] += 1
                except (VitrineError, grpc.aio.AioRpcError, AssertionError) as error:
                    self._fail(way.__name__, error)

    def _note(self, way: Callable[[Client], None], call: Callable[[], None]) -> None:
        try:
            call()
            self.outcomes[f"{way.__name__}: as expected"] += 1
        except (VitrineError, AssertionError) as error:
            self._fail(way.__name__, error)

    def _fail(self, way: str, error: Exception) -> None:
        self.outcomes[f"{way}: {type(error).__name__}"] += 1
        self.unexpected[f"{way}: {error!r}"] += 1


def change_repository(root: Path, enough: threading.Event) -> Counter[str]:
    """Changes the repository every few seconds until it is enough; says what it did."""
    done, good = Counter[str](), [1]
    for version, kind in enumerate(cycle(RELOADS), start=2):
        if enough.wait(RELOAD_SECONDS):
            return done
        done[kind] += 1
        if kind == "rolled back":
            _remove(root, good.pop())
            continue
        publish(root, version, file_of(kind, version))
        if kind == "good":
            good.append(version)
        else:
            enough.wait(RELOAD_SECONDS)  # long enough for it to be tried
            _remove(root, version)
        while len(good) > KEPT_VERSIONS:
            _remove(root, good.pop(0))
    return done


def _remove(root: Path, version: int) -> None:
    """Takes a version away by a rename, as it should be done, and then from the disk."""
    shutil.rmtree((root / NAME / str(version)).rename(root / f".{version}"))


@click.command()
@click.option("--minutes", default=20.0, show_default=True, help="How long it takes.")
@click.option("--seed", default=0, show_default=True, help="What decides who calls how.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the samples into this file.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures, every sample among them, as JSON.")
def main(minutes: float, seed: int, plot: Path | None, as_json: bool) -> None:
    """Soak a server, and print what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "models")
        publish(root, 1, file_of("good", 1))
        settings = ("--metrics-port", 0, "--model-repository", root, "--reload-seconds", 0.5, "--versions", "latest:2")
        with logged_server(*map(str, settings), "--drain-seconds", str(DRAIN_SECONDS)) as server:
            soak = Soak(server.target, seed)
            samples, reloads = run(soak, server, root, minutes)
            begin = time.monotonic()
            status = server.stop(2 * DRAIN_SECONDS)
            drained, faults = time.monotonic() - begin, server.faults()
    figures = {
        "outcomes": dict(sorted(soak.outcomes.items())),
        "unexpected": dict(soak.unexpected.most_common(20)),
        "reloads": dict(reloads),
        "slopes": {
            name: f"{found.per_minute:+.2f} ± {found.standard_error:.2f}" for name, found in slopes(samples).items()
        },
        "seconds_to_drain": round(drained, 2),
        "exit_status": status,
        "faults_in_log": [fault for fault in faults if not _expected(fault)][:20],
    }
    if plot is not None:
        draw(samples, plot)
    if as_json:
        everything = [
            [sample.minutes, sample.usage.rss_kib, sample.usage.files, sample.usage.threads] for sample in samples
        ]
        click.echo(json.dumps(figures | {"samples": everything}, indent=2))
    else:
        click.echo("\n".join(_lines(figures)))
    sys.exit(bool(soak.unexpected or figures["faults_in_log"] or status))


def run(soak: Soak, server: LoggedServer, root: Path, minutes: float) -> tuple[list[Sample], Counter[str]]:
    """Everybody at once, until the time is up."""
    with ThreadPoolExecutor(THREADS + 3) as pool:
        sampling = pool.submit(sample_until, server, soak.enough)
        changing = pool.submit(change_repository, root, soak.enough)
        calling = [pool.submit(soak.call_from_a_thread, number) for number in range(THREADS)]
        calling.append(pool.submit(asyncio.run, _tasks(soak)))
        try:
            soak.enough.wait(minutes * 60)
        finally:
            soak.enough.set()
        for caller in calling:
            caller.result()
        return sampling.result(), changing.result()


async def _tasks(soak: Soak) -> None:
    await asyncio.gather(*(soak.call_from_a_task(number) for number in range(TASKS)))


def _expected(fault: str) -> bool:
    """Whether a line of the log is about a broken version, which there are on purpose."""
    return f"{NAME}@" in fault


def _lines(figures: Mapping[str, Any]) -> Iterator[str]:
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from (f"{name:<16} {key}: {number}" for key, number in value.items())
        else:
            yield f"{name:<16} {value}"


if __name__ == "__main__":
    main()
