"""KServe's server with a custom model, by the open protocol."""

import os

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from peer_model import LAYERS, PeerModel


class Benchmark(Model):
    """The model."""

    def __init__(self) -> None:
        super().__init__("benchmark")
        self._model = PeerModel()
        self.ready = True

    def predict(self, payload: InferRequest, headers: dict | None = None, response_headers: dict | None = None):
        """Answers a request."""
        asked = {output.name for output in payload.request_outputs or ()}
        layers = tuple(layer for layer in LAYERS if layer in asked) or LAYERS[-1:]
        outputs = []
        for layer, values in zip(layers, self._model.run(payload.inputs[0].as_numpy(), layers), strict=True):
            output = InferOutput(layer, list(values.shape), "FP32")
            output.set_data_from_numpy(values, binary_data=True)
            outputs.append(output)
        return InferResponse(payload.id or "", "benchmark", outputs)


if __name__ == "__main__":
    port = int(os.environ["PEER_PORT"])
    server = ModelServer(http_port=port + 1, grpc_port=port, workers=1, enable_latency_logging=False)
    server.start([Benchmark()])
