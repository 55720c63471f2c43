"""Reloads a server 200 times under load, including files that can't be served, and counts failed and wrong answers.

    python -m endurance.reloads [--reloads 200] [--callers 3] [--json]

It starts a server on a repository of its own. Callers have no retries, and check each answer against PyTorch's with
the weights of the version that the answer names. It prints reload times, latencies and memory. It exits with 1 when a
call failed, an answer was wrong, or an invalid file was served.
"""

import json
import shutil
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from benchmarks.harness.machine import machine
from benchmarks.harness.rounds import with_progress
from benchmarks.harness.servers import Server, running
from endurance.frontend import frontend_option
from endurance.report import as_lines
from endurance.versions import HIDDEN, NAME, WEIGHTS, expected_probabilities, file_of, good_file, publish
from vitrine.client import Client, VitrineError
from vitrine.model import TOLERANCE, deviation

PIXELS: npt.NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (1, 18, 18), dtype=np.uint8)
KINDS = ("good", "corrupt", "good", "truncated", "half-written", "golden-mismatched", "rolled back")
"""Published in turn. A half-written file is completed later; a rolled back one was good."""

BAD = ("corrupt", "truncated", "golden-mismatched")
"""Kinds that may never answer."""

PATIENCE_SECONDS = 60
MAX_SHOWN = 5
"""Failures that are printed."""


@dataclass
class Tally:
    """Observations of the callers."""

    seconds: list[float] = field(default_factory=list)
    """Duration of each answered call."""
    versions: set[str] = field(default_factory=set)
    """Versions that answered."""
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """The version of each wrong answer."""


@dataclass(frozen=True, slots=True)
class Reload:
    """One change of the repository."""

    kind: str
    version: int
    seconds: float
    """Time until the server listed it."""
    rss_mib: float
    """The server's memory after it."""


@click.command()
@frontend_option
@click.option("--reloads", default=200, show_default=True, help="Changes of the repository.")
@click.option("--callers", default=3, show_default=True, help="Calls in flight.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def main(reloads: int, callers: int, as_json: bool) -> None:
    """Reload models under load, and print how reloads and calls went."""
    tally, enough = Tally(), threading.Event()
    for weights in range(WEIGHTS):  # exported before the clock runs
        good_file(weights)
    with TemporaryDirectory() as folder, (Path(folder) / "log").open("w") as log:
        root = Path(folder) / "models"
        publish(root, 1, file_of("good", 1))
        with (
            running("--model-repository", root, "--reload-seconds", "0.05", log=log) as server,
            ThreadPoolExecutor(callers) as pool,
        ):
            calling = [pool.submit(call_until, server.target, enough, tally) for _ in range(callers)]
            try:
                done = change(server, root, reloads)
            finally:
                enough.set()
            for caller in calling:
                caller.result()
    figures = figures_of(done, tally)
    click.echo(json.dumps(figures) if as_json else as_lines(figures))
    bad = {str(reload.version) for reload in done if reload.kind in BAD}
    sys.exit(bool(tally.failed or tally.wrong or bad & tally.versions))


def call_until(target: str, enough: threading.Event, tally: Tally) -> None:
    """One caller without retries: sends the next call after each answer, and checks it."""
    expected = {str(weights): expected_probabilities(weights, PIXELS)[0] for weights in range(WEIGHTS)}
    with Client(target, retries=0) as client:
        while not enough.is_set():
            begin = time.perf_counter()
            try:
                prediction = client.classify(PIXELS[0], preparation="none")
            except VitrineError as error:
                tally.failed.append(repr(error))
                continue
            tally.seconds.append(time.perf_counter() - begin)
            version = prediction.model.version
            tally.versions.add(version)
            if deviation(prediction.probabilities, expected[str(int(version) % WEIGHTS)]) > TOLERANCE:
                tally.wrong.append(version)


def change(server: Server, root: Path, count: int) -> list[Reload]:
    """Changes the repository `count` times, each after the server has listed the change before."""
    done, good = [], 1
    with Client(server.target) as client:
        for version, kind in enumerate(with_progress(list(islice(cycle(KINDS), count)), "reloading"), start=2):
            good, seconds = reload_once(client, root, kind, version, good)
            done.append(Reload(kind, version, seconds, server.usage().rss_kib / 1024))
    return done


def reload_once(client: Client, root: Path, kind: str, version: int, good: int) -> tuple[int, float]:
    """Publishes a version; gives the version that should be served then, and the seconds until it was listed."""
    begin = time.perf_counter()
    folder = publish(root, version, file_of(kind, version))
    fails = kind in BAD or kind == "half-written"
    wait_until_listed(client, version, "FAILED" if fails else "AVAILABLE")
    seconds = time.perf_counter() - begin
    if kind == "half-written":
        (folder / "model.onnx").write_bytes(good_file(version % WEIGHTS))
        wait_until_listed(client, version, "AVAILABLE")
    elif fails or kind == "rolled back":
        shutil.move(folder, root / f".{version}")
        wait_until_listed(client, good, "AVAILABLE")
        return good, seconds
    shutil.move(root / NAME / str(good), root / f".{good}")
    return version, seconds


def wait_until_listed(client: Client, version: int, state: str) -> None:
    """Waits until the server lists a version in a state."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (str(version), state) not in {(entry.version, entry.state) for entry in client.models()}:
        if time.monotonic() > deadline:
            sys.exit(f"{NAME}@{version} was never {state} within {PATIENCE_SECONDS} s: {client.models()}")
        time.sleep(0.005)


def figures_of(done: Sequence[Reload], tally: Tally) -> dict[str, Any]:
    """Everything that is printed, as plain data."""
    reloads, latencies = np.array([reload.seconds for reload in done]), np.array(tally.seconds)
    memory = [reload.rss_mib for reload in done]
    tenth = max(1, len(memory) // 10)
    return {
        **machine("onnxruntime", "grpcio"),
        "hidden": HIDDEN,
        "reloads": Counter(reload.kind for reload in done),
        "listed_p50_ms": float(np.median(reloads)) * 1e3,
        "listed_max_ms": float(reloads.max()) * 1e3,
        "calls_right": len(tally.seconds) - len(tally.wrong),
        "calls_wrong": len(tally.wrong),
        "calls_failed": len(tally.failed),
        "failures": tally.failed[:MAX_SHOWN],
        "versions_that_answered": len(tally.versions),
        "latency_p50_ms": float(np.median(latencies)) * 1e3,
        "latency_p99_ms": float(np.percentile(latencies, 99)) * 1e3,
        "latency_max_ms": float(latencies.max()) * 1e3,
        "rss_second_tenth_mib": statistics.mean(memory[tenth : 2 * tenth] or memory),
        "rss_last_tenth_mib": statistics.mean(memory[-tenth:]),
    }


if __name__ == "__main__":
    main()
