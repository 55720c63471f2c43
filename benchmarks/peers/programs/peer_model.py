"""The model as every peer runs it: ONNX Runtime with one thread, which doesn't spin."""

import os

import numpy as np
import onnxruntime

LAYERS = ("relu_1", "relu_2", "softmax")


class PeerModel:
    """The ONNX file of the variable PEER_MODEL."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = os.environ["PEER_MODEL"]
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(self, pixels: np.ndarray, layers: tuple[str, ...]) -> list[np.ndarray]:
        """Activations of these layers, float32 (N, width) each, for uint8 (N, 18, 18)."""
        return self._session.run(layers, {"pixels": pixels})

    def answer(self, request: bytes, hidden: bool) -> bytes:
        """Pixels as bytes in, the layers' float32 out, one layer behind the other."""
        return self.answers([(request, hidden)])[0]

    def answers(self, requests: list[tuple[bytes, bool]]) -> list[bytes]:
        """The same for several requests, in one run."""
        pixels = [np.frombuffer(data, np.uint8).reshape(-1, 18, 18) for data, _ in requests]
        layers = LAYERS if any(hidden for _, hidden in requests) else LAYERS[-1:]
        values, answers, begin = self.run(np.concatenate(pixels), layers), [], 0
        for own, (_, hidden) in zip(pixels, requests, strict=True):
            end = begin + len(own)
            wanted = values if hidden else values[-1:]
            answers.append(b"".join(layer[begin:end].tobytes() for layer in wanted))
            begin = end
        return answers
