"""The catalogue of a model's layers: makes that of an MLP, and checks one that was read from a file."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vitrine.model.digits import PIXELS_SHAPE
from vitrine.model.errors import ArtifactError, shown
from vitrine.model.graph import KINDS, is_internal, read_shapes
from vitrine.model.layers import Layer, LayerKind, OutputKind, Shape

LAYER_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""The names that layers may have: they are names of tensors, of metrics' labels and of fields."""

MOST_LAYERS = 1024
"""The largest number of layers: a description is sent as one message."""

VERDICTS = frozenset({"class", "digit", "is_digit"})
"""Names of an answer's outputs that are no layers, beside the novelty."""

OUTPUTS = (LayerKind.SOFTMAX, LayerKind.SIGMOID)
"""The kinds that the output layer may have."""


def layer_catalogue(
    hidden: Sequence[int], output: OutputKind = "softmax", classes: int = 10, shape: Shape = PIXELS_SHAPE
) -> tuple[Layer, ...]:
    """The layers of a ReLU MLP.

    Args:
        hidden: the width of each hidden layer, each at least 1; at least one.
        output: the function of the output layer.
        classes: the number of classes.
        shape: height and width of one image's pixels.

    Returns:
        `input`, `linear_1`, `relu_1`, …, `linear_N`, and the output layer.
    """
    layers = [Layer("input", LayerKind.INPUT, (math.prod(shape),), 0, ())]
    for number, width in enumerate([*hidden, classes], start=1):
        before = layers[-1]
        linear = f"linear_{number}"
        layers.append(Layer(linear, LayerKind.LINEAR, (width,), (before.width + 1) * width, (before.name,)))
        last = number > len(hidden)
        name, kind = (output, LayerKind(output)) if last else (f"relu_{number}", LayerKind.RELU)
        layers.append(Layer(name, kind, (width,), 0, (linear,)))
    return tuple(layers)


def parse_layers(entries: Iterable[Mapping[str, Any]], pixels: Shape) -> tuple[Layer, ...]:
    """Reads a catalogue from plain data, and checks that its layers can be calculated one after the other.

    Args:
        entries: each layer's fields, as the artifact's metadata has them.
        pixels: the shape of one image's pixels.

    Raises:
        ArtifactError: an entry lacks a field or has an unknown kind; a layer's name, shape, parameters or what it
            reads is impossible; or the last layer isn't a softmax or sigmoid of a linear layer.
    """
    try:
        layers = tuple(_layer(entry) for entry in entries)
    except (LookupError, ArithmeticError, ValueError, TypeError) as error:
        raise ArtifactError(f"the layer catalogue can't be read: {shown(error)}") from error
    if not layers or layers[0].kind is not LayerKind.INPUT:
        raise ArtifactError("the layer catalogue doesn't begin with an input layer")
    if len(layers) > MOST_LAYERS:
        raise ArtifactError(f"the layer catalogue has {len(layers):,} layers, and at most {MOST_LAYERS:,} are served")
    before: dict[str, Layer] = {}
    for layer in layers:
        _check_layer(layer, before, pixels)
        before[layer.name] = layer
    output = layers[-1]
    if output.kind not in OUTPUTS or before[output.reads[0]].kind is not LayerKind.LINEAR:
        raise ArtifactError("the layer catalogue doesn't end with a softmax or sigmoid of a linear layer")
    return layers


def _layer(entry: Mapping[str, Any]) -> Layer:
    return Layer(
        name=str(entry["name"]),
        kind=LayerKind(entry["kind"]),
        shape=tuple(whole_number(extent) for extent in _list(entry["shape"])),
        parameter_count=whole_number(entry["parameter_count"]),
        reads=tuple(str(name) for name in _list(entry["reads"])),
    )


def _check_layer(layer: Layer, before: Mapping[str, Layer], pixels: Shape) -> None:
    kind, name = KINDS[layer.kind], layer.name
    if not LAYER_NAME.fullmatch(name) or name in VERDICTS or is_internal(name):
        raise ArtifactError(f"the layer catalogue has the name {shown(name)}, which no layer can have")
    if name in before:
        raise ArtifactError(f"the layer catalogue has two layers {name}")
    if len(layer.reads) != kind.reads or (layer.kind is LayerKind.INPUT and before):
        raise ArtifactError(f"the layer catalogue has a layer {name} that reads {len(layer.reads)} layers")
    if unknown := [read for read in layer.reads if read not in before]:
        raise ArtifactError(
            f"the layer catalogue has a layer {name} that reads {shown(unknown[0])}, not a layer before it"
        )
    read = read_shapes(layer, {known.name: known.shape for known in before.values()}, pixels)
    if min(layer.shape, default=0) < 1 or layer.shape != kind.output_shape(layer, read):
        raise ArtifactError(
            f"the layer catalogue has a layer {name} of the impossible shape {shown(list(layer.shape))}"
        )
    stored = sum(math.prod(shape) for shape in kind.parameter_shapes(layer, read).values())
    if layer.parameter_count != stored:
        raise ArtifactError(
            f"the layer catalogue has a layer {name} of {shown(layer.parameter_count)} parameters, "
            f"and it stores {stored}"
        )


def whole_number(value: object) -> int:
    """A JSON number without a fraction; anything else is a ValueError."""
    if type(value) is not int:
        raise ValueError(f"{shown(value)} is no whole number")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{shown(value)} is no list")
    return value
