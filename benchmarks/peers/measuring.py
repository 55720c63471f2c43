"""Every load on one server that runs: throughput, latency at half of its capacity, overload, and its own client.

It knows servers as `Peer` describes them.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnxruntime

from benchmarks.harness import callers, processes
from benchmarks.peers import load
from benchmarks.peers.peer import MODEL_FILE, PORT, PROGRAMS, Peer, Place
from benchmarks.peers.requests import FORMS, HOST, OUTPUT, Form, Work
from vitrine.model import TOLERANCE

Values: TypeAlias = dict[str, float]

WORKS = [Work(images, hidden) for images in (1, 64) for hidden in (False, True)]
CALLS = 32
"""Calls under way in a closed loop."""

OVERLOAD_CONNECTIONS = 32
OVERLOAD = 5
"""Offered rate of the overload, as a multiple of the capacity."""

CLIENT_CALLERS = 256
START_SECONDS = 120
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.05


class PeerError(Exception):
    """A server doesn't start, or answers with other numbers; the message says why."""


def measure(peer: Peer, environment: Path, model: Path, seconds: float, clients: Path | None) -> dict[str, Values]:
    """Starts a server, puts every load on it, and stops it.

    Args:
        peer: the server.
        environment: its virtual environment.
        model: the ONNX file.
        seconds: the time of each load.
        clients: the environment of the open protocol's client, for servers that speak it; None: leave it out.

    Raises:
        PeerError: it doesn't start, its answer is wrong, or it ends connections under load.
    """
    form = FORMS[peer.form]
    with running(peer, environment, model) as (port, pid):
        try:
            check(form, port, model)
            found = {work.name: throughput(form, port, pid, work, seconds) for work in WORKS}
            first = WORKS[0]
            capacity = found[first.name]["calls_per_second"]
            if not capacity:
                raise PeerError("no call under load was answered well")
            found["half"] = half_load(form, port, first, capacity, seconds)
            found["overload"] = overload(form, port, first, capacity, seconds)
            if clients is not None:
                found |= own_clients(peer, clients, port, seconds)
        except (OSError, TimeoutError, ValueError) as error:
            raise PeerError(f"{type(error).__name__}: {error}") from error
    return found


@contextmanager
def running(peer: Peer, environment: Path, model: Path) -> Iterator[tuple[int, int]]:
    """A server that answers on a port, as a process; it and its children are ended at the end."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as log:
        place = Place(environment, Path(folder), model, _free_port())
        start = peer.start(place)
        paths = {MODEL_FILE: str(model), PORT: str(place.port), "PYTHONPATH": str(PROGRAMS)}
        variables = {**os.environ, **({} if peer.ours else paths), **start.environment}
        process = subprocess.Popen(
            list(map(str, start.command)),
            cwd=folder, env=variables, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            _wait_for_answers(FORMS[peer.form], place.port, process)
            yield place.port, process.pid
        except PeerError as error:
            log.seek(0)
            raise PeerError(f"{error}: {_last_line(log.read())}") from error
        finally:
            _end(process)


def check(form: Form, port: int, model: Path) -> None:
    """Compares a server's answers with ONNX Runtime's.

    Raises:
        PeerError: they differ.
    """
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for work in WORKS:
        (expected,) = session.run([OUTPUT], {"pixels": work.pixels()})
        if not np.allclose(form.probabilities(form.ask(port, work), work), expected, atol=TOLERANCE):
            raise PeerError(f"its answer for {work.title} is wrong")


def throughput(form: Form, port: int, pid: int, work: Work, seconds: float) -> Values:
    """A closed loop: calls per second, the server's CPU time of a call, and latencies."""
    calls = form.calls_per_connection
    spent, begin = processes.cpu_seconds(pid), time.perf_counter()
    seen = load.closed_loop(partial(form.connect, port, work), CALLS // calls, calls, seconds)
    cpu = (processes.cpu_seconds(pid) - spent) / (time.perf_counter() - begin)
    rate = seen.good_per_second
    return {
        "calls_per_second": rate,
        "cpu_us_per_call": cpu / rate * 1e6 if rate else 0.0,
        "p50_ms": seen.p50_ms,
        "p99_ms": seen.p99_ms,
        "bad": seen.bad,
    }


def half_load(form: Form, port: int, work: Work, capacity: float, seconds: float) -> Values:
    """An open loop at half of the capacity: latencies."""
    seen = load.open_loop(partial(form.connect, port, work), _connections(form), capacity / 2, seconds)
    return {"calls_per_second": seen.good_per_second, "p50_ms": seen.p50_ms, "p99_ms": seen.p99_ms, "bad": seen.bad}


def overload(form: Form, port: int, work: Work, capacity: float, seconds: float) -> Values:
    """An open loop at several times the capacity: good answers per second, and their share of the capacity."""
    seen = load.open_loop(partial(form.connect, port, work), _connections(form), OVERLOAD * capacity, seconds)
    return {
        "calls_per_second": seen.good_per_second,
        "goodput_ratio": seen.good_per_second / capacity,
        "offered_ratio": seen.offered_per_second / capacity,
        "p99_ms": seen.p99_ms,
        "bad": seen.bad,
    }


def own_clients(peer: Peer, clients: Path, port: int, seconds: float) -> dict[str, Values]:
    """Single-image calls of many callers in one Python process: Vitrine's own client, or tritonclient."""
    found: dict[str, Values] = {}
    for kind in ("async", "threads"):
        script = callers.__file__ if peer.ours else PROGRAMS / "open_protocol_callers.py"
        python = sys.executable if peer.ours else clients / "bin" / "python"
        command = [python, script, f"{HOST}:{port}", kind, CLIENT_CALLERS, seconds]
        said = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        if said.returncode != 0:
            raise PeerError(f"its client failed: {_last_line(said.stderr)}")
        found[f"client-{kind}"] = json.loads(said.stdout)
    return found


def _connections(form: Form) -> int:
    """Connections of an open loop. Those of HTTP/1.1 have one call each, and need more."""
    return OVERLOAD_CONNECTIONS if form.calls_per_connection > 1 else 8 * OVERLOAD_CONNECTIONS


def _free_port() -> int:
    """A port that is free, with two more behind it."""
    while True:
        with socket.socket() as found:
            found.bind((HOST, 0))
            port: int = found.getsockname()[1]
        if port < 65_000 and all(_is_free(further) for further in (port + 1, port + 2)):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex((HOST, port)) != 0


def _wait_for_answers(form: Form, port: int, process: "subprocess.Popen[bytes]") -> None:
    """Waits until the server answers a call.

    Raises:
        PeerError: it ended, or doesn't answer.
    """
    until, error = time.monotonic() + START_SECONDS, Exception()
    while time.monotonic() < until:
        if process.poll() is not None:
            raise PeerError(f"it ended with {process.returncode}")
        if not _is_free(port):
            try:
                form.ask(port, WORKS[0])
            except Exception as failed:  # it starts still: each kind of client has errors of its own
                error = failed
            else:
                return
        time.sleep(LOOK_SECONDS)
    raise PeerError(f"it doesn't answer: {_last_line(str(error))}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a process and its descendants: politely, and then by force."""
    family = processes.process_tree(process.pid)
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for left in family[1:]:
        _kill(left)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return


def _last_line(text: str) -> str:
    lines: Sequence[str] = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"
