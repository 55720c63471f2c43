"""Vitrine itself, with each front end, one worker and two. Everything is as it is by default."""

from functools import partial

from benchmarks.harness.servers import VITRINE_SERVER
from benchmarks.peers.peer import Peer, Place, Start


def start(frontend: str, workers: int, place: Place) -> Start:
    """This environment's server."""
    settings = ("--frontend", frontend, "--workers", str(workers), "--port", str(place.port), "--log-level", "error")
    return Start([VITRINE_SERVER, place.model, *settings])


PEERS = [
    Peer(
        f"vitrine-{frontend}-{workers}",
        f"Vitrine, {title}, {workers} {'worker' if workers == 1 else 'workers'}",
        (),
        partial(start, frontend, workers),
        "oip",
        ours=True,
    )
    for frontend, title in (("envoy", "Envoy"), ("grpc", "gRPC's own server"))
    for workers in (1, 2)
]
