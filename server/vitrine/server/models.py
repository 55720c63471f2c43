"""What is served: models by name, one of them the default. It knows neither requests nor gRPC."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vitrine.model import ArtifactMetadata, Parameters
from vitrine.server.errors import NotFound, listed, quoted


class Runner(Protocol):
    """What calculates a model's activations: `engine.Engine`, or what a test puts in its place."""

    @property
    def provider(self) -> str:
        """The ONNX Runtime execution provider that runs the model."""

    def run(self, pixels: npt.NDArray[np.uint8], layers: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        """Calculates activations: uint8 (N, 18, 18) to float32 (N, width) for each of `layers`, in their order."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class ServedModel:
    """A model that is ready to answer."""

    name: str
    """What requests call it."""
    version: str
    """Which weights it has: the first digits of its file's SHA-256."""
    metadata: ArtifactMetadata
    """What its artifact says of itself."""
    parameters: Mapping[str, Parameters]
    """The parameters of each linear layer, by the layer's name."""
    engine: Runner
    """What runs it."""


class Models:
    """The models that are served.

    Args:
        default: what answers requests that name no model.
        others: further models; all names differ.
    """

    def __init__(self, default: ServedModel, *others: ServedModel) -> None:
        self._default = default
        self._models = {model.name: model for model in (default, *others)}
        if len(self._models) != 1 + len(others):
            raise ValueError("two models have the same name")

    def __iter__(self) -> Iterator[ServedModel]:  # the default comes first
        return iter(self._models.values())

    def get(self, name: str) -> ServedModel:
        """The model of that name; the empty name is the default's.

        Raises:
            NotFound: there is none.
        """
        if not name:
            return self._default
        if name not in self._models:
            message = f"no model is called {quoted(name)}; served: {listed(self._models)}"
            raise NotFound("MODEL_UNKNOWN", message, "model")
        return self._models[name]
