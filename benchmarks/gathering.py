"""Calls per second of many single-image calls from one client process; alone or beside another client, in turns.

    python -m benchmarks.gathering
    python -m benchmarks.gathering --versus ../before/.venv/bin/python --callers 1 --callers 256 --rounds 5

Closed loop, from tasks that share an `AsyncClient` and from threads that share a `Client`: see `harness/callers.py`.
Every client calls the same server, this environment's. One caller shows what gathering costs it, many what they gain.

It prints the median, the range and the number of rounds of each value. With `--versus` it also prints ratios, this
client's value divided by the other's in the same round: calls/s should be 1 or more, CPU time 1 or less.
"""

import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import click

from benchmarks.harness import callers as calling
from benchmarks.harness.artifacts import export_random
from benchmarks.harness.machine import machine, machine_line
from benchmarks.harness.rounds import in_turns
from benchmarks.harness.servers import running
from benchmarks.harness.summary import Summary

KINDS = ("async", "threads")
UNITS = {"calls_per_second": 0, "cpu_us_per_call": 1}
"""Measured values, with the decimal places that are printed. CPU time is the client process's."""

Found: TypeAlias = dict[tuple[str, int], dict[str, list[dict[str, float]]]]
"""Measurements by kind and number of callers, and by client's name; one for each round."""


@click.command()
@click.option(
    "--versus",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Python of another checkout's environment, whose client is compared.",
)
@click.option("--callers", multiple=True, default=(1, 256), show_default=True, help="Concurrent callers; repeatable.")
@click.option("--layer", "layers", multiple=True, help="Layer whose activations are asked for; repeatable.")
@click.option("--hidden", default="512,256", show_default=True, help="Hidden layers of the random weights.")
@click.option("--seconds", default=4.0, show_default=True, help="Seconds of each measurement, after a shorter warm-up.")
@click.option("--rounds", default=3, show_default=True, help="Measurements of each client.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with every measurement.")
def main(
    versus: Path | None,
    callers: tuple[int, ...],
    layers: tuple[str, ...],
    hidden: str,
    seconds: float,
    rounds: int,
    as_json: bool,
) -> None:
    """Measure concurrent calls for single images, and print calls per second and CPU time."""
    clients = {"client": Path(sys.executable)} | ({"versus": versus} if versus else {})
    loads = list(itertools.product(KINDS, callers))
    found: Found = {load: {name: [] for name in clients} for load in loads}
    with tempfile.TemporaryDirectory() as folder:
        model = export_random(Path(folder, "model.onnx"), [int(width) for width in hidden.split(",")])
        with running(model, "--log-level", "error") as server:
            for load in loads:
                for _, name in in_turns(list(clients), rounds):
                    found[load][name].append(measure(clients[name], server.target, *load, seconds, layers))
    click.echo(as_object(found) if as_json else as_text(found))


def measure(
    python: Path, target: str, kind: str, callers: int, seconds: float, layers: tuple[str, ...]
) -> dict[str, float]:
    """One measurement in a process of its own, with the client of that Python's environment."""
    command = [str(python), str(calling.__file__), target, kind, str(callers), str(seconds), *layers]
    values: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return values


def ratios(measured: Mapping[str, list[dict[str, float]]], unit: str) -> Summary | None:
    """This client's values divided by the other's, round by round; None for one client."""
    if len(measured) == 1:
        return None
    pairs = zip(measured["client"], measured["versus"], strict=True)
    return Summary.of([ours[unit] / theirs[unit] for ours, theirs in pairs])


def as_object(found: Found) -> str:
    """Every measurement, as one JSON object."""
    loads = [{"kind": kind, "callers": callers, **measured} for (kind, callers), measured in found.items()]
    return json.dumps({"machine": machine("grpcio"), "loads": loads})


def as_text(found: Found) -> str:
    """The same in short: a block for each load."""
    lines = [machine_line("grpcio")]
    for (kind, callers), measured in found.items():
        lines.append(f"{kind}, {callers} {'caller' if callers == 1 else 'callers'}")
        for unit, digits in UNITS.items():
            for name, values in measured.items():
                lines.append(f"  {unit:<18} {name:<7} {Summary.of([one[unit] for one in values]).text(digits)}")
            if (ratio := ratios(measured, unit)) is not None:
                lines.append(f"  {unit:<18} ratio   {ratio.text(3)}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
