"""Publishes a model file larger than memory beside a good version, and tells whether the good one serves on.

    python -m endurance.large_model [--program vitrine-server] [--gib 3] [--mib 2248] [--json]

The repository has a good version 1; version 2 declares `--gib` and has nothing on disk. One server meets it while it
serves, another when it starts. Both have `--mib` of memory where this user may make memory cgroups; elsewhere only
their memory is watched. The script prints each one's answers, its reason for version 2, and its highest memory. It
exits with 1 when a server ended, didn't answer, or took more memory than it should have.
"""

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from benchmarks.harness.machine import machine
from benchmarks.harness.servers import VITRINE_SERVER, Server, running
from endurance.attacking.memory_limit import memory_group
from endurance.frontend import frontend_option
from endurance.memory import documented_mib
from endurance.report import as_lines
from vitrine.client import Client, VitrineError
from vitrine.server.bundled import bundled_model

NAME = "digits"
SAMPLE_SECONDS = 0.02
WATCH_SECONDS = 15.0


@click.command()
@frontend_option
@click.option("--program", default=VITRINE_SERVER, type=click.Path(path_type=Path), help="The server to try.")
@click.option("--gib", default=3, show_default=True, help="Size of the model file, in GiB.")
@click.option("--mib", default=documented_mib(), show_default=True, help="Memory that the server may have, in MiB.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def main(program: Path, gib: int, mib: int, as_json: bool) -> None:
    """Serve a repository with a model that is larger than memory, and print what becomes of the good version."""
    figures: dict[str, Any] = {"machine": machine("onnxruntime")}
    with TemporaryDirectory() as folder, _memory_limit(mib << 20) as limited:
        root = Path(folder)
        good = root / NAME / "1" / "model.onnx"
        good.parent.mkdir(parents=True)
        shutil.copyfile(bundled_model(), good)
        figures["limited"] = limited
        figures["published"] = _tried(program, root, lambda: _publish(root, gib << 30))
        figures["started"] = _tried(program, root, lambda: None)
    found = [figures["published"], figures["started"]]
    figures["good"] = all(one.get("alive") and one["failed"] == 0 and one["peak_mib"] < mib for one in found)
    print(json.dumps(figures) if as_json else as_lines(figures))
    sys.exit(0 if figures["good"] else 1)


def _publish(root: Path, size: int) -> None:
    folder = root / NAME / ".2.tmp"
    folder.mkdir()
    with (folder / "model.onnx").open("wb") as file:
        file.truncate(size)
    folder.rename(root / NAME / "2")


def _tried(program: Path, root: Path, change: Callable[[], None]) -> dict[str, Any]:
    """A server's answers for some seconds after a change."""
    try:
        with running("--model-repository", root, "--reload-seconds", "0.5", program=program) as server:
            change()
            return _watched(server)
    except SystemExit as error:
        return {"alive": False, "failed": 1, "peak_mib": 0, "reason": str(error)}


def _watched(server: Server) -> dict[str, Any]:
    over = threading.Event()
    ended = {True: 0, False: 0}
    reason = ""
    with ThreadPoolExecutor(1) as threads, Client(server.target, retries=0) as client:
        peak = threads.submit(_peak_mib, server, over)
        end = time.monotonic() + WATCH_SECONDS
        while time.monotonic() < end and server.alive:
            try:
                client.classify(np.zeros((28, 28), np.uint8), timeout=5)
                [reason] = [model.reason for model in client.models() if model.version == "2"] or [""]
                ended[True] += 1
            except VitrineError:
                ended[False] += 1
            over.wait(0.1)
        over.set()
    alive = server.alive
    return {
        "alive": alive,
        "answered": ended[True],
        "failed": ended[False],
        "peak_mib": peak.result(),
        "reason": reason,
    }


def _peak_mib(server: Server, over: threading.Event) -> int:
    most = 0
    while not over.wait(SAMPLE_SECONDS):
        most = max(most, server.usage().rss_kib)
    return most >> 10


@contextmanager
def _memory_limit(size: int) -> Iterator[bool]:
    """Puts this process, and the servers that it starts, into a group with so much memory; False: it can't."""
    with memory_group(size) as group:
        if group is None:
            yield False
            return
        own = str(os.getpid())
        (group / "cgroup.procs").write_text(own)
        try:
            yield True
        finally:
            (group.parent / "cgroup.procs").write_text(own)


if __name__ == "__main__":
    main()
