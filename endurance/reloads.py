"""Reloads a server 200 times under load, among them files that can't be served, and counts what callers noticed.

    python benchmarks/reloads.py [--reloads 200] [--callers 3]

It starts a server of its own on a folder of its own. Every answer is checked against what PyTorch computes with the
weights of the version that it names. It exits with 1 when a call failed, an answer was wrong, or something bad was
served.
"""

import argparse
import platform
import shutil
import statistics
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version as version_of
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
import torch

from benchmarks.harness.servers import running
from vitrine.client import Client, VitrineError
from vitrine.model import TOLERANCE, TrainingFacts, deviation
from vitrine.training.network.export import compute_activations, export
from vitrine.training.network.mlp import MLP

NAME = "digits"
HIDDEN = (512, 256)
WEIGHTS = 8
"""How many different sets of weights there are; version V has set V modulo 8."""

PIXELS: npt.NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (1, 18, 18), dtype=np.uint8)
KINDS = ("good", "corrupt", "good", "truncated", "half-written", "golden-mismatched", "rolled back")
"""What is published, in turn. What is half-written is whole later; what is rolled back was good."""

PATIENCE_SECONDS = 60
Calls: TypeAlias = list[float]
"""How long each call took, in seconds."""


@dataclass
class Tally:
    """What the callers noticed."""

    calls: Calls = field(default_factory=list)
    versions: set[str] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@cache
def mlp(weights: int) -> MLP:
    """The network of one set of weights."""
    return MLP(HIDDEN, generator=torch.Generator().manual_seed(weights))


@cache
def good_file(weights: int) -> bytes:
    """The artifact of one set of weights."""
    facts = TrainingFacts("noise", seed=weights, epochs=0)
    pixels = np.random.default_rng(1).integers(0, 256, (64, 18, 18), dtype=np.uint8)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export(mlp(weights), path, name=NAME, facts=facts, pixels=pixels)
        return path.read_bytes()


def file_of(kind: str, version: int) -> bytes:
    """What is published as a version."""
    good = good_file(version % WEIGHTS)
    match kind:
        case "corrupt":
            return bytes(reversed(good))
        case "truncated" | "half-written":
            return good[: len(good) // 2]
        case "golden-mismatched":
            return with_another_weight(good)
        case _:
            return good


def with_another_weight(file: bytes) -> bytes:
    """A model that isn't the one which its golden sample comes from."""
    model = onnx.load_model_from_string(file)
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "linear_2.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.01), bias.name))
    changed: bytes = model.SerializeToString()
    return changed


def call_until(target: str, enough: threading.Event, tally: Tally) -> None:
    """One caller: one call after the other, each checked; without retries, so that every failure counts."""
    expected = {str(w): compute_activations(mlp(w), PIXELS)["softmax"][0] for w in range(WEIGHTS)}
    with Client(target, retries=0) as client:
        while not enough.is_set():
            begin = time.perf_counter()
            try:
                prediction = client.classify(PIXELS[0], preparation="none")
            except VitrineError as error:
                tally.failed.append(repr(error))
                continue
            tally.calls.append(time.perf_counter() - begin)
            version = prediction.model.version
            tally.versions.add(version)
            if deviation(prediction.probabilities, expected[str(int(version) % WEIGHTS)]) > TOLERANCE:
                tally.wrong.append(version)


def publish(root: Path, version: int, file: bytes) -> Path:
    """Puts a version into the repository by a rename."""
    scratch = root / NAME / f".{version}.tmp"
    scratch.mkdir(parents=True)
    (scratch / "model.onnx").write_bytes(file)
    return scratch.rename(root / NAME / str(version))


def wait_until_listed(client: Client, version: int, state: str) -> None:
    """Asks for the list of models until it has a version in a state."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (str(version), state) not in {(entry.version, entry.state) for entry in client.models()}:
        if time.monotonic() > deadline:
            sys.exit(f"{NAME}@{version} never was {state}: {client.models()}")
        time.sleep(0.005)


def reload_once(client: Client, root: Path, kind: str, version: int, good: int) -> tuple[int, float]:
    """Publishes a version; gives the one that is to be served then, and the seconds until the list shows it."""
    begin = time.perf_counter()
    folder = publish(root, version, file_of(kind, version))
    bad = kind in ("corrupt", "truncated", "half-written", "golden-mismatched")
    wait_until_listed(client, version, "FAILED" if bad else "AVAILABLE")
    seconds = time.perf_counter() - begin
    if kind == "half-written":
        (folder / "model.onnx").write_bytes(good_file(version % WEIGHTS))
        wait_until_listed(client, version, "AVAILABLE")
    elif bad or kind == "rolled back":
        shutil.move(folder, root / f".{version}")
        wait_until_listed(client, good, "AVAILABLE")
        return good, seconds
    shutil.move(root / NAME / str(good), root / f".{good}")
    return version, seconds


def resident_mib(pid: int) -> float:
    """The memory of a process; 0 where /proc doesn't say."""
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def main() -> None:
    """Runs it and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reloads", type=int, default=200)
    parser.add_argument("--callers", type=int, default=3)
    arguments = parser.parse_args()
    enough, tally, waits, memory = threading.Event(), Tally(), [], []
    kinds = list(islice(cycle(KINDS), arguments.reloads))
    with TemporaryDirectory() as folder, (Path(folder) / "log").open("w") as log:
        root = Path(folder) / "models"
        publish(root, 1, file_of("good", 1))
        for weights in range(WEIGHTS):  # made before the clock runs
            good_file(weights)
        with (
            running("--model-repository", str(root), "--reload-seconds", "0.05", log=log) as server,
            Client(server.target) as client,
            ThreadPoolExecutor(arguments.callers) as callers,
        ):
            try:
                calling = [callers.submit(call_until, server.target, enough, tally) for _ in range(arguments.callers)]
                begin, good = time.perf_counter(), 1
                for version, kind in enumerate(kinds, start=2):
                    good, seconds = reload_once(client, root, kind, version, good)
                    waits.append(seconds)
                    memory.append(resident_mib(server.process.pid))
                seconds = time.perf_counter() - begin
            finally:
                enough.set()
            for caller in calling:
                caller.result()
    report(Counter(kinds), tally, waits, memory, seconds)
    bad = {str(v) for v, k in enumerate(kinds, start=2) if k in ("corrupt", "truncated", "golden-mismatched")}
    sys.exit(bool(tally.failed or tally.wrong or bad & tally.versions))


def report(kinds: Counter[str], tally: Tally, waits: list[float], memory: list[float], seconds: float) -> None:
    """Prints the figures."""
    calls = sorted(tally.calls)
    print(f"machine   {platform.machine()}, {platform.system()}, Python {platform.python_version()}")
    print(f"versions  onnxruntime {version_of('onnxruntime')}, grpcio {version_of('grpcio')}, model 324-{HIDDEN}-10")
    print(f"reloads   {len(waits)} in {seconds:.1f} s: {', '.join(f'{n} {kind}' for kind, n in kinds.items())}")
    print(f"shown     after {statistics.median(waits) * 1e3:.0f} ms (median), {max(waits) * 1e3:.0f} ms (longest)")
    print(f"calls     {len(calls) - len(tally.wrong)} right, {len(tally.failed)} failed, {len(tally.wrong)} wrong")
    print(f"answered  by {len(tally.versions)} versions")
    p50, p99 = (calls[int(len(calls) * share)] * 1e3 for share in (0.5, 0.99))
    print(f"latency   {p50:.2f} ms (p50), {p99:.2f} ms (p99), {calls[-1] * 1e3:.1f} ms (longest)")
    tenth = max(1, len(memory) // 10)
    first, last = statistics.mean(memory[tenth : 2 * tenth]), statistics.mean(memory[-tenth:])
    print(f"memory    {first:.0f} MiB (mean of the second tenth of the reloads), {last:.0f} MiB (of the last)")
    for failure in islice(tally.failed, 5):
        print(f"failed    {failure}")


if __name__ == "__main__":
    main()
