"""Ray Serve: one replica behind its proxy."""

from benchmarks.peers.peer import PROGRAMS, Peer, Place, Start


def start(place: Place) -> Start:
    """A cluster of this machine alone."""
    variables = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
    return Start([place.python, PROGRAMS / "ray_serve_app.py"], variables)


PEER = Peer(
    "ray", "Ray Serve", ("ray[serve]==2.60.0", "onnxruntime==1.32.0"), start, "bytes", "ray",
    "HTTP with bytes, one replica, batches of up to 64 requests",
)  # fmt: skip
