"""Seldon's MLServer with a custom runtime, which calculates in the server's own process.

Its default, a process for inference beside the server's, is slower for a model as small as this one.
"""

import json

from benchmarks.peers.peer import Peer, Place, Start


def start(place: Place) -> Start:
    """Writes its settings and its model's."""
    ports = {"grpc_port": place.port, "http_port": place.port + 1, "metrics_port": place.port + 2}
    settings = {"host": "127.0.0.1", **ports, "parallel_workers": 0, "debug": False}
    (place.folder / "settings.json").write_text(json.dumps(settings))
    model = {"name": "benchmark", "implementation": "mlserver_runtime.OnnxRuntime"}
    (place.folder / "model-settings.json").write_text(json.dumps(model))
    return Start([place.environment / "bin" / "mlserver", "start", place.folder])


PEER = Peer(
    "mlserver", "MLServer", ("mlserver==1.7.1", "onnxruntime==1.32.0"), start, "oip", "mlserver",
    "a custom runtime in the server's process",
)  # fmt: skip
