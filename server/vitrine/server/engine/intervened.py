"""Runs a checked artifact with interventions: each layer's activations are scaled and shifted on their way.

This takes a second graph, made from the table in `vitrine.model.graph`. The first one stays as it is, so that plain
runs cost nothing. The second is opened when it is first needed. It stores no parameters: those of the served model are
inputs of each run, so that even a large model is in memory once.
"""

import threading
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from vitrine.model import NOVELTY, ArtifactMetadata, Parameters
from vitrine.model.graph import INPUT
from vitrine.server.engine.device import CUDA_PROVIDER
from vitrine.server.engine.runtime import onnxruntime
from vitrine.server.engine.session import CUDA_OPTIONS, check_golden_sample, session_options


class IntervenedEngine:
    """A model with the optional inputs `scale_input` and `shift_input` for each layer that another one reads.

    Args:
        metadata: the metadata of its artifact, which has passed all checks.
        parameters: the parameters of each linear layer, by the layer's name.
        provider: the execution provider that runs it.
    """

    def __init__(self, metadata: ArtifactMetadata, parameters: Mapping[str, Parameters], provider: str) -> None:
        self._metadata = metadata
        self._stored = {f"{layer}.weight": stored.weight for layer, stored in parameters.items()}
        self._stored |= {f"{layer}.bias": stored.bias for layer, stored in parameters.items()}
        self._provider = provider
        self._session: onnxruntime.InferenceSession | None = None
        self._opening = threading.Lock()

    def open(self) -> None:
        """Opens the session and checks its golden sample, about 0.1 s; does nothing once that is done.

        Raises:
            ArtifactError: the golden sample disagrees.
        """
        self._opened()

    def run(
        self, pixels: npt.NDArray[np.uint8], layers: Sequence[str], changes: Mapping[str, npt.NDArray[np.float32]]
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Calculates changed activations; opens the session where `open` hasn't.

        Args:
            pixels: uint8 (N, *the model's input shape).
            layers: the names of the wanted outputs, `NOVELTY` among them where the artifact has it; at least one.
            changes: values for some of the optional inputs, float32 (1 or N, *the layer's shape); without a value, a
                scale is 1 and a shift 0.

        Returns:
            float32 (N, *the layer's shape) for each of `layers`, after the changes, in their order; (N,) for the
            novelty.

        Raises:
            ArtifactError: the golden sample disagrees.
        """
        return self._run(self._opened(), pixels, layers, changes)

    def _opened(self) -> onnxruntime.InferenceSession:
        with self._opening:
            if self._session is None:
                self._session = self._open()
            return self._session

    def _run(
        self,
        session: onnxruntime.InferenceSession,
        pixels: npt.NDArray[np.uint8],
        layers: Sequence[str],
        changes: Mapping[str, npt.NDArray[np.float32]],
    ) -> dict[str, npt.NDArray[np.float32]]:
        return dict(zip(layers, session.run(list(layers), {INPUT: pixels, **self._stored, **changes}), strict=True))

    def _open(self) -> onnxruntime.InferenceSession:
        """The session. Without changes, it must give what the first one gave."""
        from vitrine.server.engine.intervened_graph import intervened_graph  # loads onnx, which takes long

        session = onnxruntime.InferenceSession(
            intervened_graph(self._metadata),
            session_options(self._provider),
            providers=[(self._provider, CUDA_OPTIONS if self._provider == CUDA_PROVIDER else {})],
            enable_fallback=0,
        )
        golden = self._metadata.golden
        outputs = [*golden.activations, *([] if golden.novelty is None else [NOVELTY])]
        computed = self._run(session, golden.pixels, outputs, {})
        check_golden_sample(computed, golden, *self._metadata.layers[-1].reads)
        return session
