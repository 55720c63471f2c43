"""Reads an artifact from disk and checks that it is one, before anything runs it.

It knows ONNX as a file format; `session` runs the file. The graph is compared with the catalogue node by node and
constant by constant, by the table in `vitrine.model.graph`. So the network that runs, the layers that are shown and the
parameters that are given out are the same, and nothing else can hide in the file.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from vitrine.model import NOVELTY, ArtifactError, ArtifactMetadata, LayerKind, Parameters
from vitrine.model.errors import shortened
from vitrine.model.graph import (
    CONSTANTS,
    Operator,
    constant_names,
    layer_operators,
    novelty_operators,
    parameter_shapes,
)
from vitrine.server.engine.memory import check_memory
from vitrine.server.engine.onnx_messages import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
)
from vitrine.server.engine.weights import open_weights
from vitrine.server.files import read_regular_file

STANDARD_DOMAINS = ("", "ai.onnx")
"""The operators of ONNX itself. Others would need code from elsewhere, which is not loaded."""


LOADING_COPIES = 5
"""Copies of an ONNX file in memory while it is loaded: measured, and rounded up (docs/operations.md). Of the weights
beside it there is one (`weights`)."""

RAW_TYPES: Mapping[int, np.dtype[np.generic]] = {TensorProto.FLOAT: np.dtype("<f4"), TensorProto.INT64: np.dtype("<i8")}
"""The types of the tensors that artifacts have."""

NOWHERE = Path(os.devnull)
"""A file without content: ONNX Runtime insists on one, even if it is given the tensors that would be in it."""


@dataclass(frozen=True, slots=True, eq=False)
class Artifact:
    """A checked artifact: exactly the bytes that were checked, so that a file replaced meanwhile changes nothing."""

    data: bytes
    """The ONNX file. It says of tensors beside it that they are at `NOWHERE`, so that nobody reads them unchecked; then
    it has no metadata either."""
    sha256: str
    """The digest of the ONNX file, in hex."""
    metadata: ArtifactMetadata
    """Its metadata."""
    parameters: Mapping[str, Parameters]
    """The parameters of each linear layer, by the layer's name."""
    beside: frozenset[str]
    """The names of the tensors that aren't in `data`, but were read from the file beside it: see `parameters`."""


def read_artifact(path: Path, register: str = "") -> Artifact:
    """Reads and checks an artifact.

    Args:
        path: the ONNX file.
        register: the register of processes that share weights (`weights_register`); empty: none do.

    Raises:
        ArtifactError: it can't be read, isn't ONNX, isn't Vitrine's, asks for custom operators, or is another network
            than its catalogue describes.
    """
    check_memory(size := _size(path), LOADING_COPIES * size)
    data = _read(path)
    model = _parse(data)
    metadata = ArtifactMetadata.from_properties(_properties(model))
    _check_operators(model)
    _check_interface(model.graph, metadata)
    _check_nodes(model.graph, metadata)
    _check_constants(model.graph)
    outside = _read_outside(model.graph, metadata, path, register)
    parameters = _read_parameters(model.graph, metadata, outside)
    beside = frozenset(tensor.name for tensor in model.graph.initializer if _outside(tensor))
    sha256 = hashlib.sha256(data).hexdigest()
    return Artifact(_unlinked(model) if beside else data, sha256, metadata, parameters, beside)


def _size(file: Path) -> int:
    """The bytes of a file; 0 where there is none."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _beside(path: Path) -> Path:
    """The file that may hold the weights of an ONNX file."""
    return path.with_name(path.name + ".data")


def _read(path: Path) -> bytes:
    try:
        return read_regular_file(path)
    except OSError as error:
        raise ArtifactError(f"{path.name} can't be read: {error.strerror}") from error


def _parse(data: bytes) -> ModelProto:
    if not data:
        raise ArtifactError("it is an empty file: copy or export it again")
    try:
        return ModelProto.FromString(data)
    except DecodeError as error:
        raise ArtifactError("it isn't an ONNX file, or is cut off") from error


def _properties(model: ModelProto) -> dict[str, str]:
    properties = {entry.key: entry.value for entry in model.metadata_props}
    if len(properties) < len(model.metadata_props):
        raise ArtifactError("its metadata has a key twice")
    return properties


def _check_operators(model: ModelProto) -> None:
    domains = {opset.domain for opset in model.opset_import} | {node.domain for node in model.graph.node}
    if custom := sorted(domains.difference(STANDARD_DOMAINS)):
        raise ArtifactError(f"it asks for custom operators ({shortened(', '.join(custom))}); only ONNX's own are run")
    if model.functions:
        raise ArtifactError("it defines functions of its own; only ONNX's own operators are run")


def _check_interface(graph: GraphProto, metadata: ArtifactMetadata) -> None:
    """The graph takes `pixels` and gives every layer of the catalogue and, with a threshold, the novelty; no more."""
    taken = metadata.input
    if [_declared(value) for value in graph.input] != [(taken.name, TensorProto.UINT8, (0, *taken.shape))]:
        raise ArtifactError(f"its input isn't {taken.name}, uint8 [N, {', '.join(map(str, taken.shape))}]")
    _check_novelty(graph, metadata)
    novelty = [] if metadata.novelty_threshold is None else [(NOVELTY, TensorProto.FLOAT, (0,))]
    expected = [(layer.name, TensorProto.FLOAT, (0, *layer.shape)) for layer in metadata.layers] + novelty
    if [_declared(value) for value in graph.output] != expected:
        and_novelty = f", and {NOVELTY}, float32 [N]" if novelty else ""
        raise ArtifactError(f"its outputs aren't the layers of its catalogue, float32 [N, …] each{and_novelty}")


def _check_novelty(graph: GraphProto, metadata: ArtifactMetadata) -> None:
    """The novelty, its threshold and what it must be for the golden sample mean nothing without each other."""
    given = any(value.name == NOVELTY for value in graph.output)
    if metadata.novelty_threshold is None and (given or metadata.golden.novelty is not None):
        where = "graph gives" if given else "golden sample has"
        raise ArtifactError(f"its {where} a {NOVELTY}, and its metadata have no threshold to judge it by")
    if metadata.novelty_threshold is not None and not given:
        raise ArtifactError(f"its metadata have a {NOVELTY} threshold, and its graph gives no {NOVELTY}")


def _declared(value: ValueInfoProto) -> tuple[str, int, tuple[int, ...]]:
    """Name, type and shape of an input or output; 0 stands for a dynamic axis."""
    tensor = value.type.tensor_type
    return value.name, tensor.elem_type, tuple(axis.dim_value for axis in tensor.shape.dim)


def _check_nodes(graph: GraphProto, metadata: ArtifactMetadata) -> None:
    """The graph calculates the catalogue's layers from the parameters of their names, the novelty, and no more."""
    has_novelty = metadata.novelty_threshold is not None
    novelty = novelty_operators(*metadata.layers[-1].reads) if has_novelty else []
    if [_operator(node) for node in graph.node] != layer_operators(metadata.layers) + novelty:
        raise ArtifactError("its operators aren't those that calculate the layers of its catalogue")
    parameters = [name for shapes in _parameter_shapes(metadata).values() for name in shapes]
    expected = sorted([*constant_names(novelty=has_novelty), *parameters])
    if graph.sparse_initializer or sorted(tensor.name for tensor in graph.initializer) != expected:
        raise ArtifactError("what it stores isn't the weight and bias of each linear layer of its catalogue")


def _operator(node: NodeProto) -> Operator | None:
    """The operator of a node; None if an attribute isn't a whole number (Python has 1 == 1.0), or is there twice."""
    whole = (attribute for attribute in node.attribute if attribute.type == AttributeProto.INT)
    attributes = {attribute.name: attribute.i for attribute in whole if not attribute.ref_attr_name}
    if len(attributes) < len(node.attribute):
        return None
    return Operator(node.op_type, tuple(node.input), tuple(node.output), attributes)


def _check_constants(graph: GraphProto) -> None:
    """The constants are those of the table: another divisor would weigh pixels, another axis mix callers' images."""
    for tensor in graph.initializer:
        expected = CONSTANTS.get(tensor.name)
        if expected is not None and not _is_constant(tensor, expected):
            value = f"{expected.dtype} {list(expected.shape)} of {expected.item()}"
            raise ArtifactError(f"its constant {tensor.name} isn't {value}, as in every graph")


def _is_constant(tensor: TensorProto, expected: npt.NDArray[np.generic]) -> bool:
    if _outside(tensor):
        return False
    try:
        values = _to_array(tensor)
    except (ValueError, TypeError, KeyError):  # it is cut off, or of no known type
        return False
    return values.dtype == expected.dtype and values.shape == expected.shape and bool((values == expected).all())


def _to_array(tensor: TensorProto) -> npt.NDArray[np.generic]:
    """The values of a tensor.

    Raises:
        ValueError, TypeError, KeyError: it is cut off, or of no known type.
    """
    dtype = RAW_TYPES.get(tensor.data_type)
    if dtype is not None and tensor.HasField("raw_data"):
        return np.frombuffer(tensor.raw_data, dtype).reshape(tuple(tensor.dims))
    from onnx import numpy_helper  # the rare ways to store values, and a library that takes long to import

    return numpy_helper.to_array(tensor)


def _parameter_shapes(metadata: ArtifactMetadata) -> dict[str, dict[str, tuple[int, ...]]]:
    return parameter_shapes(metadata.layers, metadata.input.shape)


def _read_outside(graph: GraphProto, metadata: ArtifactMetadata, path: Path, register: str) -> memoryview | None:
    """The file of parameters beside the ONNX file, where there is one, and it is the one that was exported."""
    places = {_outside(tensor)["location"] for tensor in graph.initializer if _outside(tensor)}
    if not places:
        return None
    beside = _beside(path)
    if places != {beside.name}:
        raise ArtifactError(
            f"its weights lie in {shortened(', '.join(sorted(places)))}; only {beside.name} beside it is read"
        )
    return open_weights(beside, metadata.data_sha256, register)


def _unlinked(model: ModelProto) -> bytes:
    """The ONNX file without the way to the weights beside it, which have been read.

    It has no metadata: a large model's statistics are many, and ONNX Runtime would keep a copy of them.
    """
    del model.metadata_props[:]
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = NOWHERE.name
    return model.SerializeToString()


def _outside(tensor: TensorProto) -> dict[str, str]:
    """The place of a tensor's values outside of the ONNX file: `location`, `offset`, `length`; empty if inside."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return {}
    return {"location": "", "offset": "0", "length": "0"} | {entry.key: entry.value for entry in tensor.external_data}


def _read_parameters(
    graph: GraphProto, metadata: ArtifactMetadata, outside: memoryview | None
) -> dict[str, Parameters]:
    stored = {tensor.name: tensor for tensor in graph.initializer}
    shapes = _parameter_shapes(metadata)
    return {
        layer.name: Parameters(
            *(_read_tensor(stored[name], shape, outside) for name, shape in shapes[layer.name].items())
        )
        for layer in metadata.layers
        if layer.kind is LayerKind.LINEAR
    }


def _read_tensor(tensor: TensorProto, shape: tuple[int, ...], outside: memoryview | None) -> npt.NDArray[np.float32]:
    if tensor.data_type != TensorProto.FLOAT or tuple(tensor.dims) != shape:
        raise ArtifactError(f"its {tensor.name} isn't float32 {shape}, as its catalogue says")
    try:
        place = _outside(tensor)
        if outside is None or not place:
            return np.asarray(_to_array(tensor), np.float32)
        start = int(place["offset"])
        return np.frombuffer(outside[start : start + int(place["length"])], "<f4").reshape(shape)
    except ValueError as error:
        raise ArtifactError(f"its {tensor.name} is cut off: {shortened(str(error))}") from error
