"""BentoML: a service whose only method takes and gives bytes."""

from benchmarks.peers.peer import Peer, Place, Start


def start(place: Place) -> Start:
    """One worker; it reports nothing to its makers."""
    program, address = place.environment / "bin" / "bentoml", ("--host", "127.0.0.1", "--port", str(place.port))
    return Start(
        [program, "serve", "bentoml_service:Benchmark", *address],
        {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(place.folder)},
    )


PEER = Peer(
    "bentoml", "BentoML", ("bentoml==1.4.40", "onnxruntime==1.32.0"), start, "bytes", "bentoml",
    "HTTP with bytes, one worker",
)  # fmt: skip
