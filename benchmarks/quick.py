"""The server beside raw ONNX Runtime and beside a server that does nothing, in less than a minute.

    python -m benchmarks.quick [--rounds 3] [--seconds 1]

ONNX Runtime runs in a loop, one image a run: nothing is faster with the same model, one image at a time. A bare
`grpc.aio` server answers with some bytes: a server in Python on gRPC can't be faster. Both front ends answer the open
protocol's `ModelInfer`; Envoy is left out where it isn't installed.

It prints calls/s, CPU time of a call, and ratios, and judges nothing. It fails if a server doesn't start, or a call
fails.
"""

import importlib.util
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import onnxruntime

from benchmarks.harness.artifacts import export_random
from benchmarks.harness.machine import machine_line
from benchmarks.harness.rounds import in_turns
from benchmarks.harness.summary import Summary
from benchmarks.peers import vitrine
from benchmarks.peers.measuring import Values, check, running, throughput
from benchmarks.peers.peer import PROGRAMS, Peer, Place, Start
from benchmarks.peers.requests import FORMS, OUTPUT, Work

HIDDEN_LAYERS = (512, 256)
LOAD = Work(images=1, hidden=False)
RAW, ECHO = "ONNX Runtime alone", "bare grpc.aio server"
UNITS = {"calls_per_second": ("calls/s", 0), "cpu_us_per_call": ("CPU µs a call", 0)}


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Measurements of each.")
@click.option("--seconds", default=1.0, show_default=True, help="Seconds of each measurement, after a warm-up.")
def main(rounds: int, seconds: float) -> None:
    """Measure the server beside what it can't exceed, and print the ratios."""
    servers = {peer.title: peer for peer in (_echo(), *_front_ends())}
    found: dict[str, list[Values]] = {name: [] for name in (RAW, *servers)}
    with tempfile.TemporaryDirectory() as folder:
        model = export_random(Path(folder, "model.onnx"), HIDDEN_LAYERS)
        for _, name in in_turns(list(found), rounds):
            found[name].append(_serve(servers[name], model, seconds) if name in servers else _run(model, seconds))
    click.echo(f"{machine_line('grpcio', 'onnxruntime')}; {LOAD.title}")
    for line in lines(found):
        click.echo(line)
    if any(values.get("bad") for measured in found.values() for values in measured):
        sys.exit("calls failed")


def lines(found: Mapping[str, Sequence[Values]]) -> list[str]:
    """A line for each value, and one for each ratio with another's in the same round."""
    told = []
    for name, measured in found.items():
        for unit, (title, digits) in UNITS.items():
            told.append(f"{name:<40} {title:<14} {Summary.of([of_it[unit] for of_it in measured]).text(digits)}")
        for other in (RAW, ECHO):
            if name not in (RAW, other):
                pairs = zip(measured, found[other], strict=True)
                ratio = Summary.of([mine["calls_per_second"] / its["calls_per_second"] for mine, its in pairs])
                told.append(f"{name:<40} {'calls/s over':<14} {other}: {ratio.text(2)}")
    return told


def _echo() -> Peer:
    def start(_: Place) -> Start:
        return Start([sys.executable, PROGRAMS / "grpc_echo.py"])

    return Peer("echo", ECHO, (), start, "oip")


def _front_ends() -> list[Peer]:
    """Vitrine's, one worker each."""
    envoy = importlib.util.find_spec("pyvoy") is not None
    return [peer for peer in vitrine.PEERS if peer.name in ("vitrine-grpc-1", *(("vitrine-envoy-1",) if envoy else ()))]


def _serve(peer: Peer, model: Path, seconds: float) -> Values:
    """Starts a server, and measures it; Vitrine's answers are checked first."""
    form = FORMS[peer.form]
    with running(peer, Path(), model) as (port, pid):
        if peer.ours:
            check(form, port, model)
        return throughput(form, port, pid, LOAD, seconds)


def _run(model: Path, seconds: float) -> Values:
    """ONNX Runtime in a loop, with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    pixels, runs = LOAD.pixels(), 0
    begin, spent = time.perf_counter(), time.process_time()
    while (now := time.perf_counter()) < begin + seconds:
        session.run([OUTPUT], {"pixels": pixels})
        runs += 1
    return {"calls_per_second": runs / (now - begin), "cpu_us_per_call": (time.process_time() - spent) / runs * 1e6}


if __name__ == "__main__":
    main()
