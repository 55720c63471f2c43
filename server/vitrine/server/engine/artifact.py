"""Reads an artifact from disk and checks that it is one, before anything runs it.

It knows ONNX as a file format. What runs the file is `engine`'s business. The graph is compared with the one that the
catalogue describes, node by node: what is run, what is shown as layers and what is given out as parameters are then
the same network, and nothing else can hide in the file.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper

from vitrine.model import NOVELTY, PIXELS_SHAPE, ArtifactError, ArtifactMetadata, Layer, LayerKind, Parameters

STANDARD_DOMAINS = ("", "ai.onnx")
"""The operators of ONNX itself. Others would need code from elsewhere, which is not loaded."""

INPUT = "pixels"
"""The name of the graph's input."""

FULL_SCALE = "full_scale"
"""The name of the constant that the pixels are divided by."""

CLASS_AXIS = "class_axis"
"""The name of the constant that says over which axis the novelty sums: the second, that of the classes."""

Node: TypeAlias = tuple[str, list[str], list[str], dict[str, Any]]
"""An operator: its type, inputs, outputs and attributes."""


@dataclass(frozen=True, slots=True, eq=False)
class Artifact:
    """A checked artifact: exactly the bytes that were checked, so that a file replaced meanwhile changes nothing."""

    path: Path
    """Where it was read from."""
    data: bytes
    """The ONNX file."""
    sha256: str
    """The digest of `data`, in hex."""
    metadata: ArtifactMetadata
    """What it says of itself."""
    parameters: Mapping[str, Parameters]
    """The parameters of each linear layer, by the layer's name."""
    beside: frozenset[str]
    """The names of the tensors that aren't in `data`, but were read from the file beside it."""


def read_artifact(path: Path) -> Artifact:
    """Reads and checks an artifact.

    Raises:
        ArtifactError: it can't be read, isn't ONNX, isn't Vitrine's, asks for custom operators, or is another network
            than its catalogue describes.
    """
    data = _read(path)
    model = _parse(data)
    metadata = ArtifactMetadata.from_properties({entry.key: entry.value for entry in model.metadata_props})
    _check_operators(model)
    _check_interface(model.graph, metadata)
    _check_nodes(model.graph, metadata)
    _check_class_axis(model.graph)
    outside = _read_outside(model.graph, metadata, path)
    parameters = _read_parameters(model.graph, metadata, outside)
    beside = frozenset(tensor.name for tensor in model.graph.initializer if _outside(tensor))
    return Artifact(path, data, hashlib.sha256(data).hexdigest(), metadata, parameters, beside)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path.name} can't be read: {error.strerror}") from error


def _parse(data: bytes) -> onnx.ModelProto:
    try:
        return onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ArtifactError("it isn't an ONNX file, or is cut off") from error


def _check_operators(model: onnx.ModelProto) -> None:
    domains = {opset.domain for opset in model.opset_import} | {node.domain for node in model.graph.node}
    if custom := sorted(domains.difference(STANDARD_DOMAINS)):
        raise ArtifactError(f"it asks for custom operators ({', '.join(custom)}); only ONNX's own are run")
    if model.functions:
        raise ArtifactError("it defines functions of its own; only ONNX's own operators are run")


def _check_interface(graph: onnx.GraphProto, metadata: ArtifactMetadata) -> None:
    """The graph takes `pixels` and gives every layer of the catalogue and, with a threshold, the novelty; no more."""
    inputs = [(value.name, value.type.tensor_type.elem_type, _extent(value)) for value in graph.input]
    if inputs != [(INPUT, TensorProto.UINT8, (0, *PIXELS_SHAPE))]:
        raise ArtifactError(f"its input isn't {INPUT}, uint8 [N, {PIXELS_SHAPE[0]}, {PIXELS_SHAPE[1]}]")
    _check_novelty(graph, metadata)
    outputs = [(value.name, value.type.tensor_type.elem_type, _extent(value)) for value in graph.output]
    novelty = [] if metadata.novelty_threshold is None else [(NOVELTY, TensorProto.FLOAT, (0,))]
    if outputs != [(layer.name, TensorProto.FLOAT, (0, layer.width)) for layer in metadata.layers] + novelty:
        and_novelty = f", and {NOVELTY}, float32 [N]" if novelty else ""
        raise ArtifactError(f"its outputs aren't the layers of its catalogue, float32 [N, width] each{and_novelty}")


def _check_novelty(graph: onnx.GraphProto, metadata: ArtifactMetadata) -> None:
    """The novelty, its threshold and what it must be for the golden sample mean nothing without each other."""
    given = any(value.name == NOVELTY for value in graph.output)
    if metadata.novelty_threshold is None and (given or metadata.golden.novelty is not None):
        where = "graph gives" if given else "golden sample has"
        raise ArtifactError(f"its {where} a {NOVELTY}, and its metadata have no threshold to judge it by")
    if metadata.novelty_threshold is not None and not given:
        raise ArtifactError(f"its metadata have a {NOVELTY} threshold, and its graph gives no {NOVELTY}")


def _extent(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """The shape of an input or output; 0 stands for a dynamic axis."""
    return tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)


def _check_nodes(graph: onnx.GraphProto, metadata: ArtifactMetadata) -> None:
    """The graph calculates the catalogue's layers from the parameters of their names, the novelty, and no more."""
    try:
        found = [_as_node(node) for node in graph.node]
    except ValueError as error:  # an attribute of no known type
        raise ArtifactError(f"an operator of it can't be read: {error}") from error
    novelty = [] if metadata.novelty_threshold is None else _novelty_nodes(metadata.layers[-1].reads)
    if found != [node for layer in metadata.layers for node in expected_nodes(layer)] + novelty:
        raise ArtifactError("its operators aren't those that calculate the layers of its catalogue")
    stored = sorted(tensor.name for tensor in graph.initializer)
    constants = [FULL_SCALE, CLASS_AXIS] if novelty else [FULL_SCALE]
    if graph.sparse_initializer or stored != sorted([*constants, *_parameter_names(metadata)]):
        raise ArtifactError("what it stores isn't the weight and bias of each linear layer of its catalogue")


def _as_node(node: onnx.NodeProto) -> Node:
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return node.op_type, list(node.input), list(node.output), attributes


def expected_nodes(layer: Layer) -> list[Node]:
    """The operators that calculate one layer, in order."""
    name, reads = layer.name, layer.reads
    match layer.kind:
        case LayerKind.INPUT:
            return [
                ("Cast", [INPUT], ["pixels_float32"], {"to": TensorProto.FLOAT}),
                ("Div", ["pixels_float32", FULL_SCALE], ["pixels_scaled"], {}),
                ("Flatten", ["pixels_scaled"], [name], {"axis": 1}),
            ]
        case LayerKind.LINEAR:
            return [("Gemm", [reads, f"{name}.weight", f"{name}.bias"], [name], {"transB": 1})]
        case LayerKind.RELU:
            return [("Relu", [reads], [name], {})]
        case LayerKind.SOFTMAX:
            return [("Softmax", [reads], [name], {"axis": 1})]
        case LayerKind.SIGMOID:
            return [("Sigmoid", [reads], [name], {})]


def _novelty_nodes(logits: str) -> list[Node]:
    """The operators that calculate the novelty from the last linear layer's activations, after all layers'."""
    return [
        ("ReduceLogSumExp", [logits, CLASS_AXIS], ["log_sum_exp"], {"keepdims": 0}),
        ("Neg", ["log_sum_exp"], [NOVELTY], {}),
    ]


def _check_class_axis(graph: onnx.GraphProto) -> None:
    """Where there is a novelty, it is summed over the classes: over another axis it would mix callers' images."""
    for axis in (tensor for tensor in graph.initializer if tensor.name == CLASS_AXIS):
        is_known = axis.data_type == TensorProto.INT64 and tuple(axis.dims) == (1,) and not _outside(axis)
        if not is_known or _integers(axis) != [1]:
            raise ArtifactError(f"its {CLASS_AXIS} isn't int64 [1]: the novelty would be summed over something else")


def _integers(tensor: TensorProto) -> list[int]:
    """A small tensor's values; none where they are cut off."""
    try:
        values: list[int] = numpy_helper.to_array(tensor).tolist()
    except ValueError:
        return []
    return values


def _parameter_names(metadata: ArtifactMetadata) -> Iterator[str]:
    for layer in metadata.layers:
        if layer.kind is LayerKind.LINEAR:
            yield from (f"{layer.name}.weight", f"{layer.name}.bias")


def _read_outside(graph: onnx.GraphProto, metadata: ArtifactMetadata, path: Path) -> memoryview | None:
    """The file of parameters beside the ONNX file, where there is one, and it is the one that was exported."""
    places = {_outside(tensor)["location"] for tensor in graph.initializer if _outside(tensor)}
    if not places:
        return None
    beside = path.with_name(path.name + ".data")
    if places != {beside.name}:
        raise ArtifactError(f"its weights lie in {', '.join(sorted(places))}; only {beside.name} beside it is read")
    data = _read(beside)
    if hashlib.sha256(data).hexdigest() != metadata.data_sha256:
        raise ArtifactError(f"{beside.name} beside it isn't the file that it was exported with: their SHA-256 differ")
    return memoryview(data)


def _outside(tensor: TensorProto) -> dict[str, str]:
    """Where a tensor's values lie outside of the ONNX file: `location`, `offset`, `length`; empty if they don't."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return {}
    return {"location": "", "offset": "0", "length": "0"} | {entry.key: entry.value for entry in tensor.external_data}


def _read_parameters(
    graph: onnx.GraphProto, metadata: ArtifactMetadata, outside: memoryview | None
) -> dict[str, Parameters]:
    stored = {tensor.name: tensor for tensor in graph.initializer}
    widths = {layer.name: layer.width for layer in metadata.layers}
    parameters = {}
    for layer in metadata.layers:
        if layer.kind is LayerKind.LINEAR:
            weight = _read_tensor(stored[f"{layer.name}.weight"], (layer.width, widths[layer.reads]), outside)
            bias = _read_tensor(stored[f"{layer.name}.bias"], (layer.width,), outside)
            parameters[layer.name] = Parameters(weight, bias)
    return parameters


def _read_tensor(tensor: TensorProto, shape: tuple[int, ...], outside: memoryview | None) -> npt.NDArray[np.float32]:
    if tensor.data_type != TensorProto.FLOAT or tuple(tensor.dims) != shape:
        raise ArtifactError(f"its {tensor.name} isn't float32 {shape}, as its catalogue says")
    try:
        place = _outside(tensor)
        if outside is None or not place:
            return np.asarray(numpy_helper.to_array(tensor), np.float32)
        start = int(place["offset"])
        return np.frombuffer(outside[start : start + int(place["length"])], "<f4").reshape(shape)
    except ValueError as error:
        raise ArtifactError(f"its {tensor.name} is cut off: {error}") from error
