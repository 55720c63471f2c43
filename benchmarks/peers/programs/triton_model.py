"""Triton's Python backend: all requests that Triton hands over together go into one run."""

import os
import sys

sys.path[:0] = os.environ["PEER_PATH"].split(os.pathsep)  # the backend's Python knows no PYTHONPATH

import numpy as np
import triton_python_backend_utils as triton
from peer_model import LAYERS, PeerModel


class TritonPythonModel:
    """The class that the backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the model."""
        self._model = PeerModel()

    def execute(self, requests: list) -> list:
        """Answers requests."""
        pixels = [triton.get_input_tensor_by_name(request, "pixels").as_numpy() for request in requests]
        asked = [set(request.requested_output_names()) for request in requests]
        layers = tuple(layer for layer in LAYERS if any(layer in names for names in asked))
        values = self._model.run(np.concatenate(pixels), layers)
        answers, begin = [], 0
        for own, names in zip(pixels, asked, strict=True):
            end = begin + len(own)
            wanted = [
                (layer, of_all[begin:end]) for layer, of_all in zip(layers, values, strict=True) if layer in names
            ]
            tensors = [triton.Tensor(layer, own_values) for layer, own_values in wanted]
            answers.append(triton.InferenceResponse(tensors))
            begin = end
        return answers
