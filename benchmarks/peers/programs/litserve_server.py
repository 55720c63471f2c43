"""LitServe with batches."""

import base64
import os

import litserve
from fastapi import Request, Response
from peer_model import PeerModel


class Benchmark(litserve.LitAPI):
    """The model."""

    def setup(self, device: str) -> None:
        """Loads it."""
        self._model = PeerModel()

    def decode_request(self, request: Request) -> tuple[bytes, bool]:
        """Takes the pixels out of a request."""
        return base64.b64decode(request["pixels"]), request["hidden"]

    def batch(self, inputs: list) -> list:
        """Requests stay apart until the run."""
        return inputs

    def unbatch(self, output: list) -> list:
        """Each answer is a request's."""
        return output

    def predict(self, batch: list) -> list[bytes]:
        """Answers a batch."""
        return self._model.answers(batch)

    def encode_response(self, output: bytes) -> Response:
        """Bytes, as they are."""
        return Response(output, media_type="application/octet-stream")


if __name__ == "__main__":
    server = litserve.LitServer(
        Benchmark(max_batch_size=64, batch_timeout=0.0), accelerator="cpu", workers_per_device=1
    )
    server.run(port=int(os.environ["PEER_PORT"]), host="127.0.0.1", generate_client_file=False, log_level="error")
