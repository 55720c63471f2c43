"""The results of the client: frozen, with arrays that are views on the bytes of the answer.

It knows neither gRPC nor protobuf: `wire` makes these from messages.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from vitrine.client.drawable import Drawable, Shown
from vitrine.model import Layer, LayerKind, ModelInput, TrainingFacts, VitrineError

Floats: TypeAlias = npt.NDArray[np.float32]
"""float32, read-only: a view on the bytes of the answer. Copy it to change it, or to free the rest of the answer."""


class Activations(Mapping[str, Floats]):
    """The activations of one image by layer, in the order of the layers; read-only. Each is float32 (*layer.shape).

    Args:
        of_layer: the activations by the layer's name.
        layers: the layers of the model by name. A layer of a kind that this version doesn't know is missing here.
    """

    __slots__ = ("_layers", "_of_layer")

    def __init__(self, of_layer: Mapping[str, Floats], layers: Mapping[str, Layer]) -> None:
        self._of_layer = dict(of_layer)
        self._layers = layers

    @property
    def layers(self) -> Mapping[str, Layer]:
        """All layers of the model by name, with kind, shape and reads, even if their activations aren't here."""
        return self._layers

    def __getitem__(self, layer: str) -> Floats:
        if layer not in self._of_layer:
            present = ", ".join(self._of_layer) or "none"
            raise KeyError(f"no activations of {layer!r} here, only of: {present}; ask with activations=")
        return self._of_layer[layer]

    def __contains__(self, layer: object) -> bool:  # Mapping's own would build the KeyError's text for each miss
        return layer in self._of_layer

    def __iter__(self) -> Iterator[str]:
        return iter(self._of_layer)

    def __len__(self) -> int:
        return len(self._of_layer)

    def _ipython_key_completions_(self) -> list[str]:
        """The keys that notebooks and IPython offer behind `activations["`."""
        return list(self)

    def __repr__(self) -> str:
        sizes = (f"{name}: {' × '.join(map(str, values.shape))}" for name, values in self._of_layer.items())
        return f"Activations({', '.join(sizes)})"


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """The identity of a model that answers."""

    name: str
    """Name of the model."""
    version: str
    """Version of the model."""
    provider: str
    """ONNX Runtime execution provider that runs it, for example `CPUExecutionProvider`."""

    @property
    def label(self) -> str:
        """NAME@VERSION, which requests may ask for."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True, eq=False)
class Prediction(Shown):
    """The prediction for one image, and the activations on the way to it."""

    index: int
    """Position of the predicted class in `classes`: the largest activation of the output layer."""
    probabilities: Floats
    """The output layer's activations, float32 (classes,), each 0 to 1. A softmax sums to 1; a sigmoid may not."""
    activations: Activations
    """The activations that were asked for: float32 (*layer.shape) by layer, in the order of the layers."""
    model: ModelIdentity
    """The model that answered."""
    classes: tuple[str, ...]
    """Labels of the model's classes, in the order of `probabilities`."""
    input: ModelInput
    """The model's input, with the shape of `pixels`."""
    novelty: float | None = None
    """The energy score: −log Σ exp of the last linear layer's activations, in nats; any finite number. A larger one is
    less like the model's classes. None: the model has no novelty."""
    is_digit: bool | None = None
    """True if `novelty` is at most the model's threshold. A classifier gives noise, a face or an empty page one of its
    classes, too, often with a high probability. Where this is False, neither the class nor its probability means
    anything. True is no proof: letters, for example, may pass for digits. None: the model has no threshold."""
    baseline: "Prediction | None" = None
    """The same image's prediction without the call's interventions. None: there were none."""
    image: str = ""
    """Path of the image's file, as it was given; empty for an image that came otherwise."""

    @property
    def label(self) -> str:
        """Label of the predicted class: "8"."""
        return self.classes[self.index]

    @property
    def digit(self) -> int:
        """The predicted digit, for models whose classes are all digits.

        Raises:
            VitrineError: the classes aren't digits.
        """
        return _digit(self.label, self.classes, self.model)

    @property
    def probability(self) -> float:
        """The probability of the predicted class, 0 to 1."""
        return float(self.probabilities[self.index])

    @property
    def pixels(self) -> Floats:
        """The image as the model gets it: float32 (height, width), 0 = white (paper), 1 = black (ink).

        Raises:
            KeyError: the activations of the input layer weren't asked for.
        """
        layers = self.activations.layers.values()
        name = next((layer.name for layer in layers if layer.kind is LayerKind.INPUT), self.input.name)
        return self.activations[name].reshape(self.input.shape)

    @property
    def has_pixels(self) -> bool:
        """True if `pixels` are here: the activations of the input layer were asked for."""
        layers = self.activations.layers
        return any(name in layers and layers[name].kind is LayerKind.INPUT for name in self.activations)

    def __repr__(self) -> str:
        predicted = f"digit={self.label}" if are_digits(self.classes) else f"label={self.label!r}"
        judged = "" if self.is_digit is None else f"is_digit={self.is_digit}, novelty={self.novelty:.4f}, "
        return (
            f"Prediction({predicted}, probability={self.probability:.4f}, {judged}"
            f"activations={self.activations!r}, model={self.model.name!r})"
        )


def with_image(prediction: Prediction, image: object) -> Prediction:
    """The prediction for an image, with its path if it is one."""
    return replace(prediction, image=name) if (name := path_of(image)) else prediction


def path_of(image: object) -> str:
    """The path of an image; empty if it is none."""
    return os.fsdecode(image) if isinstance(image, (str, os.PathLike)) else ""


AttributionMethod: TypeAlias = Literal["contributions", "gradient_times_input", "integrated_gradients"]
"""A way to divide a score among the pixels: see `Client.explain`."""


@dataclass(frozen=True, slots=True, eq=False)
class Explanation(Shown):
    """The score of a class, divided among the pixels of one image: `contributions.sum() + bias` is `score`."""

    index: int
    """Position of the explained class in `classes`."""
    contributions: Floats
    """Each pixel's share, float32 (height, width), any finite number: above 0 it speaks for the class, below against
    it. White pixels, which are 0, have no share."""
    bias: float
    """The rest of the score: the biases' share. Of integrated gradients: the score of a white page."""
    score: float
    """The class's activation of the last linear layer, before softmax or sigmoid; any finite number."""
    pixels: Floats
    """The image as the model gets it: float32 (height, width), 0 = white (paper), 1 = black (ink)."""
    method: AttributionMethod
    """The method."""
    model: ModelIdentity
    """The model that answered."""
    classes: tuple[str, ...]
    """Labels of the model's classes."""

    @property
    def label(self) -> str:
        """Label of the explained class: "8"."""
        return self.classes[self.index]

    @property
    def digit(self) -> int:
        """The explained digit, for models whose classes are all digits.

        Raises:
            VitrineError: the classes aren't digits.
        """
        return _digit(self.label, self.classes, self.model)

    def __repr__(self) -> str:
        explained = f"digit={self.label}" if are_digits(self.classes) else f"label={self.label!r}"
        shape = " × ".join(map(str, self.contributions.shape))
        return (
            f"Explanation({explained}, score={self.score:.4f}, contributions={shape}, bias={self.bias:.4f}, "
            f"method={self.method!r}, model={self.model.name!r})"
        )


def _digit(label: str, classes: tuple[str, ...], model: ModelIdentity) -> int:
    if not are_digits(classes):
        shown = ", ".join(classes[:4]) + (", …" if len(classes) > 4 else "")
        raise VitrineError(f"the classes of model {model.name!r} aren't digits ({shown}): use .label")
    return int(label)


def are_digits(classes: tuple[str, ...]) -> bool:
    """True if every class is a digit, "0" to "9"."""
    return all(len(label) == 1 and "0" <= label <= "9" for label in classes)


def rejection_of(classes: tuple[str, ...]) -> str:
    """The words for an image that is none of these classes."""
    return "no digit" if are_digits(classes) else "none of the classes"


@dataclass(frozen=True, slots=True)
class ModelSummary(ModelIdentity):
    """An entry in the list of models: a version that is served or failed to load."""

    default: bool
    """True if it answers requests that name no model."""
    state: str
    """`AVAILABLE`: it answers. `FAILED`: it failed to load or failed a check. `UNKNOWN`: a state of a newer server."""
    reason: str
    """Cause of the failure, or the reason why older files answer; empty if all is well."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on one request."""

    max_images: int
    """Largest number of images."""
    max_message_bytes: int
    """Largest request and largest answer, in bytes."""
    max_image_pixels: int
    """Largest width × height of an encoded image."""


@dataclass(frozen=True, slots=True)
class Model(ModelIdentity):
    """The description of a model."""

    layers: tuple[Layer, ...]
    """Every layer, from the input to the output layer."""
    classes: tuple[str, ...]
    """Labels of the classes, in the order of the output layer's activations."""
    limits: Limits
    """Limits on one request."""
    training: TrainingFacts
    """Facts about its training."""
    input: ModelInput
    """The input tensor: its name, type, shape (height, width), and the preparation of an image."""
    novelty_threshold: float | None = None
    """Largest `Prediction.novelty` for which `is_digit` is True. None: the model has no novelty, and its predictions
    have neither."""
    digest: str = ""
    """First hex digits of its file's SHA-256; empty from an older server."""

    @property
    def parameter_count(self) -> int:
        """Number of stored parameters in all layers."""
        return sum(layer.parameter_count for layer in self.layers)

    def __repr__(self) -> str:
        widths = " → ".join(f"{layer.name} {layer.width}" for layer in self.layers)
        return (
            f"Model({self.name!r}, version={self.version!r}, provider={self.provider!r}, "
            f"parameters={self.parameter_count:,}, layers: {widths})"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Parameters(Drawable):
    """The parameters of a linear layer, which calculates weight × activations + bias."""

    layer: str
    """Name of the layer."""
    weight: Floats
    """float32 (width, width of the layer that it reads)."""
    bias: Floats
    """float32 (width,)."""
    model: ModelIdentity
    """The model that they belong to."""

    def __repr__(self) -> str:
        return f"Parameters({self.layer!r}, weight={self.weight.shape}, bias={self.bias.shape})"


@dataclass(frozen=True, slots=True)
class Health:
    """The health that the server reports; true if it serves."""

    serving: bool
    """True if the server takes requests."""
    status: str
    """Status in the words of `grpc.health.v1`: SERVING, NOT_SERVING, …"""

    def __bool__(self) -> bool:
        return self.serving
