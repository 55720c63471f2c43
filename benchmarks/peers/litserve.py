"""LitServe. It takes JSON only, so that pixels travel in Base64; answers are bytes."""

from benchmarks.peers.peer import PROGRAMS, Peer, Place, Start


def start(place: Place) -> Start:
    """One worker, with batches."""
    return Start([place.python, PROGRAMS / "litserve_server.py"])


PEER = Peer(
    "litserve", "LitServe", ("litserve==0.2.19", "onnxruntime==1.32.0"), start, "base64", "litserve",
    "HTTP with Base64 in JSON, one worker, batches of up to 64 requests",
)  # fmt: skip
