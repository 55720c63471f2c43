"""Writes the graph of a model with interventions, out of the table in `vitrine.model.graph`."""

from collections.abc import Sequence
from typing import Any

from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from vitrine.model import NOVELTY, ArtifactMetadata, Shape
from vitrine.model.graph import (
    CONSTANTS,
    INPUT,
    Operator,
    changeable_layers,
    constant_names,
    intervened_operators,
    novelty_operators,
    parameter_shapes,
    scale_input,
    shift_input,
)

IR_VERSION, OPSET = 10, 18
"""Versions of ONNX that the graph is written in."""


def intervened_graph(metadata: ArtifactMetadata) -> bytes:
    """The ONNX file of a model with interventions. Its parameters are inputs."""
    layers, has_novelty = metadata.layers, metadata.novelty_threshold is not None
    operators = intervened_operators(layers) + (novelty_operators(*layers[-1].reads) if has_novelty else [])
    stored = [numpy_helper.from_array(CONSTANTS[name], name) for name in constant_names(novelty=has_novelty)]
    inputs = [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", *metadata.input.shape])]
    for shapes in parameter_shapes(layers, metadata.input.shape).values():
        inputs += [_floats(name, shape) for name, shape in shapes.items()]
    for layer in changeable_layers(layers):
        axes = 1 + len(layer.shape)
        for name, value in ((scale_input(layer.name), 1.0), (shift_input(layer.name), 0.0)):
            inputs.append(_floats(name, [None] * axes))
            stored.append(helper.make_tensor(name, TensorProto.FLOAT, [1] * axes, [value]))  # its default
    outputs = [_floats(layer.name, ("N", *layer.shape)) for layer in layers]
    outputs += [_floats(NOVELTY, ("N",))] if has_novelty else []
    graph = helper.make_graph([*map(_node, operators)], "vitrine", inputs, outputs, stored)
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
    return model.SerializeToString()


def _node(operator: Operator) -> NodeProto:
    attributes: dict[str, Any] = dict(operator.attributes)
    return helper.make_node(operator.type, operator.inputs, operator.outputs, **attributes)


def _floats(name: str, shape: Shape | Sequence[str | int | None]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
