"""Measures how long a server takes from exec to SERVING, in turns with that of another checkout.

    python -m benchmarks.start [ARGUMENTS OF vitrine-server] [--against PROGRAM] [--rounds 20] [--json]

Each round starts each server once, with a free port, and stops it again. Two times are taken when its health check
says SERVING: the seconds since exec, which other work on the machine makes longer, and the CPU time that the server and
its processes have used until then. A first start of each, which fills the system's cache of files, isn't counted.
"""

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.harness.machine import machine, machine_line
from benchmarks.harness.processes import cpu_seconds
from benchmarks.harness.rounds import in_turns
from benchmarks.harness.servers import READY, VITRINE_SERVER
from benchmarks.harness.summary import Summary
from vitrine.client import Client

PACKAGES = ("vitrine-serving", "onnxruntime", "grpcio", "numpy")


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a server."""

    seconds: float
    """From exec until its health was SERVING."""
    cpu_seconds: float
    """CPU time of all its processes until then."""


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1)
@click.option("--against", type=click.Path(path_type=Path), help="Another checkout's vitrine-server.")
@click.option("--rounds", default=20, show_default=True, type=click.IntRange(1), help="Starts of each server.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def main(arguments: tuple[str, ...], against: Path | None, rounds: int, as_json: bool) -> None:
    """Start servers again and again, and print how long each takes until it serves."""
    programs = {"this": VITRINE_SERVER, **({"against": against} if against else {})}
    for program in programs.values():
        _start(program, arguments)
    starts: dict[str, list[Start]] = {name: [] for name in programs}
    for _, name in in_turns(list(programs), rounds):
        starts[name].append(_start(programs[name], arguments))
    found = {
        name: {field: Summary.of([getattr(start, field) for start in each]) for field in ("seconds", "cpu_seconds")}
        for name, each in starts.items()
    }
    print(_document(found, arguments) if as_json else _text(found, arguments))


def _start(program: Path, arguments: tuple[str, ...]) -> Start:
    """Starts a server, waits until it serves, and stops it."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [program, *arguments, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith(READY):
            sys.exit(f"{program} didn't start: it printed {line!r}")
        with Client(line.removeprefix(READY).strip()) as client:
            health = client.health()
        seconds, cpu = time.perf_counter() - begin, cpu_seconds(process.pid)
        if not health:
            sys.exit(f"{program} is ready, and its health is {health.status}")
        return Start(seconds, cpu)
    finally:
        process.terminate()
        process.wait()


def _document(found: dict[str, dict[str, Summary]], arguments: tuple[str, ...]) -> str:
    figures: dict[str, Any] = {
        name: {field: asdict(summary) for field, summary in each.items()} for name, each in found.items()
    }
    return json.dumps({"machine": machine(*PACKAGES), "arguments": arguments, **figures})


def _text(found: dict[str, dict[str, Summary]], arguments: tuple[str, ...]) -> str:
    lines = [machine_line(*PACKAGES), f"vitrine-server {' '.join(arguments)}".rstrip()]
    for name, each in found.items():
        lines.append(f"{name}: {each['seconds'].text(3)} s to SERVING, {each['cpu_seconds'].text(2)} s of CPU time")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
