"""Measures Vitrine and other servers of models under the same loads, in turns.

    python -m benchmarks.peers [--only triton --only vitrine-envoy-1] [--rounds 5] [--seconds 3]
    python -m benchmarks.peers --ours
    python -m benchmarks.peers --only triton --try

Servers take turns: each round starts every server anew, puts all loads on it, and stops it. What was measured is
written after each turn, and an interrupted comparison goes on there. A server that can't be installed or doesn't run on
this machine is left out, and the table says why. `python -m benchmarks.peers.report` makes the tables.

Nothing else should run meanwhile: the client and the servers share this machine's CPUs.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.harness.artifacts import export_random
from benchmarks.harness.machine import machine
from benchmarks.harness.rounds import in_turns, log_progress
from benchmarks.peers import bentoml, kserve, litserve, mlserver, ray_serve, triton, vitrine
from benchmarks.peers.environments import CACHE, InstallationError, environment, version_in
from benchmarks.peers.measuring import PeerError, measure
from benchmarks.peers.peer import Peer
from benchmarks.peers.report import as_text
from benchmarks.peers.results import Measured, Results

PEERS: Sequence[Peer] = [
    *vitrine.PEERS,
    triton.PEER,
    kserve.PEER,
    mlserver.PEER,
    litserve.PEER,
    bentoml.PEER,
    ray_serve.PEER,
]
NAMES = [peer.name for peer in PEERS]
HIDDEN_LAYERS = (512, 256)
CLIENT_PACKAGES = ("tritonclient[grpc]==2.73.0",)


@click.command()
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="Server to measure; repeatable.  [all]")
@click.option("--ours", is_flag=True, help="Measure Vitrine alone.")
@click.option("--rounds", default=5, show_default=True, help="Turns of each server, with those of before.")
@click.option("--seconds", default=3.0, show_default=True, help="Seconds of each load.")
@click.option("--try", "trying", is_flag=True, help="One short turn of each, whose values are not kept.")
@click.option("--afresh", is_flag=True, help="Forget what was measured before.")
@click.option(
    "--results",
    "path",
    type=click.Path(path_type=Path),
    default=Path("out/peers.json"),
    show_default=True,
    help="File with the measurements.",
)
@click.option(
    "--cache", type=click.Path(path_type=Path), default=CACHE, show_default=True, help="Environments' folder."
)
def main(
    only: Sequence[str], ours: bool, rounds: int, seconds: float, trying: bool, afresh: bool, path: Path, cache: Path
) -> None:
    """Measure servers under the same loads, in turns, and print the tables."""
    peers = [peer for peer in PEERS if (peer.name in only or not only) and (peer.ours or not ours)]
    if trying:
        rounds, seconds, afresh = 1, 0.5, True
    kept = not trying and not afresh and path.exists()
    results = Results.read(path) if kept else Results(machine("onnxruntime", "grpcio"), seconds)
    if results.seconds != seconds:
        raise click.UsageError(f"{path} has loads of {results.seconds:g} s: give the same --seconds, or --afresh")
    with tempfile.TemporaryDirectory() as folder:
        model = export_random(Path(folder, "model.onnx"), HIDDEN_LAYERS)
        for turn, peer in in_turns(peers, rounds):
            of_it = results.servers.setdefault(peer.name, Measured(peer.title, note=peer.note, ours=peer.ours))
            if not of_it.skipped and len(of_it.rounds) <= turn:
                _take_turn(peer, of_it, model, seconds, cache)
            if not trying:
                results.write(path)
    click.echo(as_text(results))


def _take_turn(peer: Peer, of_it: Measured, model: Path, seconds: float, cache: Path) -> None:
    """Measures a server once; notes why it can't be."""
    try:
        own = environment(peer.name, peer.packages, cache) if peer.packages else Path()
        clients = environment("client", CLIENT_PACKAGES, cache) if peer.form == "oip" else None
        of_it.version = version_in(own, peer.version_of) if peer.packages else ""
        of_it.rounds.append(measure(peer, own, model, seconds, clients))
    except (InstallationError, PeerError) as error:
        of_it.skipped = str(error)
    log_progress(f"{peer.name}: {of_it.skipped or 'measured'}")


if __name__ == "__main__":
    main()
