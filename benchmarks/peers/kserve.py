"""KServe's Python server, as a custom model is served with it. It has no batching of its own."""

from benchmarks.peers.peer import PROGRAMS, Peer, Place, Start


def start(place: Place) -> Start:
    """One worker with gRPC."""
    return Start([place.python, PROGRAMS / "kserve_server.py"])


PEER = Peer(
    "kserve", "KServe's Python server", ("kserve==0.21.0", "onnxruntime==1.32.0"), start, "oip", "kserve",
    "a custom model, one worker",
)  # fmt: skip
