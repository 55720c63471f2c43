"""The one table of kinds: how each layer is calculated, what it stores, and the shape that it gives.

Training makes the graph's nodes from this table, and the server compares a file with it, node by node. Operators are
plain tuples with ONNX's names, so that this module needs no ONNX.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from vitrine.model.layers import Layer, LayerKind, Shape

INPUT = "pixels"
"""The name of the graph's input: uint8 [N, height, width]."""

NOVELTY = "novelty"
"""The name of the graph's output for the energy score: float32 [N], −log Σ exp of the last linear layer's activations
(W. Liu et al. 2020, arXiv:2010.03759). The larger, the less an image is like those that the model knows."""

FULL_SCALE = "full_scale"
"""The name of the constant that the pixels are divided by."""

CLASS_AXIS = "class_axis"
"""The name of the constant for the axis that the novelty sums over."""

FLOAT32 = 1
"""ONNX's number for float32, `TensorProto.FLOAT`: the target of a Cast."""

CONSTANTS: Mapping[str, npt.NDArray[np.generic]] = {
    FULL_SCALE: np.array(255, np.float32),  # (): one divisor for all pixels
    CLASS_AXIS: np.array([1], np.int64),  # axis 0 is that of the images: summing over it would mix them
}
"""The constants of a graph with their values, read-only; the novelty alone needs `CLASS_AXIS`."""

for _values in CONSTANTS.values():
    _values.flags.writeable = False


class Operator(NamedTuple):
    """One node of the graph."""

    type: str
    """Name of the operator in ONNX's default domain."""
    inputs: tuple[str, ...]
    """Names of the tensors that it reads."""
    outputs: tuple[str, ...]
    """Names of the tensors that it gives."""
    attributes: Mapping[str, int]
    """Its attributes by name."""


Shapes: TypeAlias = tuple[Shape, ...]
"""The shapes of what a layer reads, in the order of `Layer.reads`; of the input layer: the shape of the pixels."""


@dataclass(frozen=True, slots=True)
class Kind:
    """The calculation of layers of one kind."""

    operators: Callable[[Layer], list[Operator]]
    """The nodes that calculate a layer, in order; the last one gives the layer's name."""
    output_shape: Callable[[Layer, Shapes], Shape]
    """The shape that the layer must have."""
    parameter_shapes: Callable[[Layer, Shapes], Mapping[str, Shape]] = lambda _layer, _read: {}
    """The shapes of the tensors that it stores, by their names in the graph."""
    reads: int = 1
    """Number of layers that it reads."""
    signed: bool = False
    """True if activations may be below 0."""


def _scale(layer: Layer) -> list[Operator]:
    return [
        Operator("Cast", (INPUT,), ("pixels_float32",), {"to": FLOAT32}),
        Operator("Div", ("pixels_float32", FULL_SCALE), ("pixels_scaled",), {}),
        Operator("Flatten", ("pixels_scaled",), (layer.name,), {"axis": 1}),
    ]


def _multiply(layer: Layer) -> list[Operator]:
    return [
        Operator("Gemm", (*layer.reads, f"{layer.name}.weight", f"{layer.name}.bias"), (layer.name,), {"transB": 1})
    ]


def _apply(operator: str, **attributes: int) -> Callable[[Layer], list[Operator]]:
    return lambda layer: [Operator(operator, layer.reads, (layer.name,), attributes)]


def _flattened(_layer: Layer, read: Shapes) -> Shape:
    return (math.prod(read[0]),)


def _vector(layer: Layer, _read: Shapes) -> Shape:
    return (layer.width,)


def _unchanged(_layer: Layer, read: Shapes) -> Shape:
    return read[0]


def _weight_and_bias(layer: Layer, read: Shapes) -> Mapping[str, Shape]:
    return {f"{layer.name}.weight": (layer.width, *read[0]), f"{layer.name}.bias": (layer.width,)}


KINDS: Mapping[LayerKind, Kind] = {
    LayerKind.INPUT: Kind(_scale, _flattened, reads=0),
    LayerKind.LINEAR: Kind(_multiply, _vector, _weight_and_bias, signed=True),
    LayerKind.RELU: Kind(_apply("Relu"), _unchanged),
    LayerKind.SOFTMAX: Kind(_apply("Softmax", axis=1), _unchanged),
    LayerKind.SIGMOID: Kind(_apply("Sigmoid"), _unchanged),
}
"""Every kind of layer."""


def layer_operators(layers: Iterable[Layer]) -> list[Operator]:
    """The nodes that calculate these layers, in order."""
    return [operator for layer in layers for operator in KINDS[layer.kind].operators(layer)]


def novelty_operators(logits: str) -> list[Operator]:
    """The nodes that calculate the novelty from the last linear layer, after the nodes of all layers."""
    return [
        Operator("ReduceLogSumExp", (logits, CLASS_AXIS), ("log_sum_exp",), {"keepdims": 0}),
        Operator("Neg", ("log_sum_exp",), (NOVELTY,), {}),
    ]


def changeable_layers(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers whose activations an intervention can change: those that another layer reads."""
    read = {name for layer in layers for name in layer.reads}
    return tuple(layer for layer in layers if layer.name in read)


def scale_input(layer: str) -> str:
    """The name of the optional input that a layer's activations are multiplied by: float32 (1 or N, *shape)."""
    return f"{layer}.scale"  # layers' names have no dot


def shift_input(layer: str) -> str:
    """The name of the optional input that is added to a layer's scaled activations: float32 (1 or N, *shape)."""
    return f"{layer}.shift"


def intervened_operators(layers: Sequence[Layer]) -> list[Operator]:
    """The nodes of `layer_operators`, with activations · scale + shift behind each layer that another one reads.

    The changed activations have the layer's name, so that the layers behind it, and the outputs, take these.
    """
    changed = {layer.name for layer in changeable_layers(layers)}
    operators = []
    for layer in layers:
        *others, last = KINDS[layer.kind].operators(layer)
        operators += [*others, *(_changed(last, layer.name) if layer.name in changed else [last])]
    return operators


def _changed(operator: Operator, layer: str) -> list[Operator]:
    untouched, scaled = f"{layer}.untouched", f"{layer}.scaled"
    return [
        operator._replace(outputs=(untouched,)),
        Operator("Mul", (untouched, scale_input(layer)), (scaled,), {}),
        Operator("Add", (scaled, shift_input(layer)), (layer,), {}),
    ]


def constant_names(*, novelty: bool) -> list[str]:
    """The constants that a graph stores beside its parameters."""
    return [FULL_SCALE, CLASS_AXIS] if novelty else [FULL_SCALE]


def parameter_shapes(layers: Iterable[Layer], pixels: Shape) -> dict[str, dict[str, Shape]]:
    """The shapes of the tensors that each layer stores: by layer, then by the tensor's name in the graph.

    Args:
        layers: a whole catalogue, each layer after those that it reads.
        pixels: the shape of one image's pixels.
    """
    shape_of: dict[str, Shape] = {}
    stored = {}
    for layer in layers:
        read = read_shapes(layer, shape_of, pixels)
        stored[layer.name] = dict(KINDS[layer.kind].parameter_shapes(layer, read))
        shape_of[layer.name] = layer.shape
    return stored


def read_shapes(layer: Layer, shape_of: Mapping[str, Shape], pixels: Shape) -> Shapes:
    """Shapes of a layer's inputs: the layers that it reads, or the pixels if it reads none."""
    return tuple(shape_of[name] for name in layer.reads) if layer.reads else (pixels,)


def is_internal(name: str) -> bool:
    """Tells whether the graph uses a name for a tensor that is no layer, so that no layer may have it."""
    return name in _INTERNAL


_INTERNAL = frozenset({INPUT, "pixels_float32", "pixels_scaled", "log_sum_exp", NOVELTY, *CONSTANTS})
