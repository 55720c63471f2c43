"""What the client gives back: frozen results, with the arrays as views on the answer's bytes.

It knows neither gRPC nor protobuf: `wire` makes these from messages.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from vitrine.model import Layer, LayerKind, TrainingFacts

Floats: TypeAlias = npt.NDArray[np.float32]
"""float32, read-only: a view on the bytes of the answer. Copy it to change it, or to let go of the whole answer."""


def kind_of(layer: str) -> LayerKind | None:
    """What a layer does, which its name says: `relu_2` is a ReLU. None: a newer server's kind."""
    kind = layer.partition("_")[0]
    return LayerKind(kind) if kind in list(LayerKind) else None


class Activations(Mapping[str, Floats]):
    """The activations of one image by layer, in the order of the layers; read-only. Each is float32 (width,)."""

    __slots__ = ("_of_layer",)

    def __init__(self, of_layer: Mapping[str, Floats]) -> None:
        self._of_layer = dict(of_layer)

    def __getitem__(self, layer: str) -> Floats:
        if layer not in self._of_layer:
            had = ", ".join(self._of_layer) or "none"
            raise KeyError(f"no activations of {layer!r} here, only of: {had}; ask with activations=")
        return self._of_layer[layer]

    def __contains__(self, layer: object) -> bool:  # Mapping's own would build the KeyError's text for each miss
        return layer in self._of_layer

    def __iter__(self) -> Iterator[str]:
        return iter(self._of_layer)

    def __len__(self) -> int:
        return len(self._of_layer)

    def __repr__(self) -> str:
        return f"Activations({', '.join(f'{name}: {len(values)}' for name, values in self._of_layer.items())})"


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Who answered."""

    name: str
    """The model's name."""
    version: str
    """The version that answered."""
    provider: str
    """The ONNX Runtime execution provider that calculates it, for example `CPUExecutionProvider`."""


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What the model says about one image, and what it calculated on the way."""

    digit: int
    """The class with the largest activation of the output layer."""
    probabilities: Floats
    """The output layer's activations, float32 (classes,), each 0 to 1. A softmax sums to 1; a sigmoid needn't."""
    activations: Activations
    """The activations that were asked for: float32 (width,) by layer, in the order of the layers."""
    model: ModelIdentity
    """The model that answered."""
    novelty: float | None = None
    """How unlike a digit the image is: −log Σ exp of the last linear layer's activations, any number; the larger, the
    less like a digit. Compare it with the same model's `novelty_threshold`, or with the novelties of images that are
    known to be digits: alone it says nothing. None: the model that answered can't tell."""
    is_digit: bool | None = None
    """Whether the image passes for a digit: whether its `novelty` is at most the model's threshold. A classifier has
    ten answers, and gives noise, a face or an empty page one of them, too, often with a high probability: where this is
    False, neither `digit` nor `probability` means anything. True is no proof: what is drawn like a digit, as many a
    letter is, passes. None: the model that answered can't tell."""

    @property
    def probability(self) -> float:
        """The probability of `digit`, 0 to 1."""
        return float(self.probabilities[self.digit])

    def __repr__(self) -> str:
        judged = "" if self.is_digit is None else f"is_digit={self.is_digit}, novelty={self.novelty:.4f}, "
        return (
            f"Prediction(digit={self.digit}, probability={self.probability:.4f}, {judged}"
            f"activations={self.activations!r}, model={self.model.name!r})"
        )


@dataclass(frozen=True, slots=True)
class ModelSummary(ModelIdentity):
    """A model in the list of those that are served, or should be."""

    default: bool
    """Whether it answers requests that name no model."""
    state: str
    """`AVAILABLE`: it answers. `FAILED`: it couldn't be loaded or failed a check, and doesn't. `UNKNOWN`: a newer
    server's state."""
    reason: str
    """Why it has failed, or why what answers isn't what lies on the server's disk now; empty when all is well."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may hold."""

    max_images: int
    """The largest number of images."""
    max_message_bytes: int
    """The largest request and answer, in bytes."""
    max_image_pixels: int
    """The largest width × height that an encoded image may declare."""


@dataclass(frozen=True, slots=True)
class Model(ModelIdentity):
    """A model, described."""

    layers: tuple[Layer, ...]
    """Every layer, from the input to the output layer."""
    classes: tuple[str, ...]
    """The label of every class, in the order of the output layer's activations."""
    limits: Limits
    """What one request may hold."""
    training: TrainingFacts
    """How it was trained."""
    novelty_threshold: float | None = None
    """The largest `Prediction.novelty` that is still a digit's; of what is above it, `is_digit` is False. None: the
    model can't tell what is no digit, and its predictions have neither."""

    @property
    def parameter_count(self) -> int:
        """How many parameters it stores in all layers."""
        return sum(layer.parameter_count for layer in self.layers)

    def __repr__(self) -> str:
        widths = " → ".join(f"{layer.name} {layer.width}" for layer in self.layers)
        return (
            f"Model({self.name!r}, version={self.version!r}, provider={self.provider!r}, "
            f"parameters={self.parameter_count:,}, layers: {widths})"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Parameters:
    """What a linear layer stores: it calculates weight × activations + bias."""

    layer: str
    """The layer's name."""
    weight: Floats
    """float32 (width, width of the layer it reads)."""
    bias: Floats
    """float32 (width,)."""
    model: ModelIdentity
    """The model they are from."""

    def __repr__(self) -> str:
        return f"Parameters({self.layer!r}, weight={self.weight.shape}, bias={self.bias.shape})"


@dataclass(frozen=True, slots=True)
class Health:
    """How the server says it is; true when it serves."""

    serving: bool
    """Whether it takes requests."""
    status: str
    """The status in the words of `grpc.health.v1`: SERVING, NOT_SERVING, …"""

    def __bool__(self) -> bool:
        return self.serving
