"""The layers of a model, by name: the catalogue that the artifact, the wire and the SDK share.

Every step that calculates is a layer, the input and the output too. It knows no framework: only names, kinds and sizes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from vitrine.model.errors import ArtifactError
from vitrine.model.preparation.pipeline import SIDE

OutputKind: TypeAlias = Literal["softmax", "sigmoid"]
"""The function of the output layer."""


DIGITS = tuple("0123456789")
"""The classes of every model, in the order of the output layer's activations: a class's position is its digit."""


class LayerKind(StrEnum):
    """What a layer does."""

    INPUT = "input"
    """The pixels, scaled to 0 (white) to 1 (black) and flattened row by row."""
    LINEAR = "linear"
    """A matrix multiply: weight × activations + bias."""
    RELU = "relu"
    """max(x, 0)."""
    SOFTMAX = "softmax"
    """exp(x) over its sum: 0 to 1, summing to 1."""
    SIGMOID = "sigmoid"
    """1 / (1 + exp(-x)): each 0 to 1 for itself."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a model."""

    name: str
    """What its activations are called: in the ONNX graph, on the wire and in the SDK."""
    kind: LayerKind
    """What it does."""
    width: int
    """How many activations it has."""
    parameter_count: int
    """How many parameters it stores: weights and biases; 0 for all kinds but linear."""
    reads: str
    """The layer whose activations it reads; empty for the input."""


def layer_catalogue(hidden: Sequence[int], output: OutputKind = "softmax", classes: int = 10) -> tuple[Layer, ...]:
    """The layers of a ReLU MLP on 18 × 18 pixels.

    Args:
        hidden: the width of each hidden layer, each at least 1; at least one.
        output: the function of the output layer.
        classes: the number of classes.

    Returns:
        `input`, `linear_1`, `relu_1`, …, `linear_N`, and the output layer.
    """
    layers = [Layer("input", LayerKind.INPUT, SIDE * SIDE, 0, "")]
    for number, width in enumerate([*hidden, classes], start=1):
        before = layers[-1]
        layers.append(Layer(f"linear_{number}", LayerKind.LINEAR, width, (before.width + 1) * width, before.name))
        last = number > len(hidden)
        layers.append(
            Layer(output, LayerKind(output), width, 0, layers[-1].name)
            if last
            else Layer(f"relu_{number}", LayerKind.RELU, width, 0, layers[-1].name)
        )
    return tuple(layers)


def parse_layers(entries: Iterable[Mapping[str, Any]]) -> tuple[Layer, ...]:
    """Reads a catalogue back from plain data, as the artifact's metadata has it.

    Raises:
        ArtifactError: an entry lacks a field or has an unknown kind, or the layers aren't those of such an MLP.
    """
    try:
        layers = tuple(
            Layer(str(e["name"]), LayerKind(e["kind"]), int(e["width"]), int(e["parameter_count"]), str(e["reads"]))
            for e in entries
        )
        hidden = [layer.width for layer in layers if layer.kind is LayerKind.RELU]
        output: OutputKind = "sigmoid" if layers[-1].kind is LayerKind.SIGMOID else "softmax"
    except (LookupError, ArithmeticError, ValueError, TypeError) as error:
        raise ArtifactError(f"the layer catalogue can't be read: {error!r}") from error
    if not hidden or layers != layer_catalogue(hidden, output, layers[-1].width):
        raise ArtifactError("the layer catalogue doesn't describe a ReLU MLP on 18 × 18 pixels")
    return layers
