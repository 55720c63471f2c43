"""Reads an artifact from disk and checks that it is one, before anything runs it.

It knows ONNX as a file format. What runs the file is `engine`'s business.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper

from vitrine.model import PIXELS_SHAPE, ArtifactError, ArtifactMetadata, LayerKind

STANDARD_DOMAINS = ("", "ai.onnx")
"""The operators of ONNX itself. Others would need code from elsewhere, which is not loaded."""

INPUT = "pixels"
"""The name of the graph's input."""


@dataclass(frozen=True, slots=True, eq=False)
class Parameters:
    """What a linear layer stores."""

    weight: npt.NDArray[np.float32]
    """float32 (width, width of the layer it reads)."""
    bias: npt.NDArray[np.float32]
    """float32 (width,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Artifact:
    """A checked artifact: exactly the bytes that were checked, so that a file replaced meanwhile changes nothing."""

    path: Path
    """Where it was read from; weights outside of `data` lie in the same folder."""
    data: bytes
    """The ONNX file."""
    sha256: str
    """The digest of `data`, in hex."""
    metadata: ArtifactMetadata
    """What it says of itself."""
    parameters: Mapping[str, Parameters]
    """The parameters of each linear layer, by the layer's name."""


def read_artifact(path: Path) -> Artifact:
    """Reads and checks an artifact.

    Raises:
        ArtifactError: it can't be read, isn't ONNX, isn't Vitrine's, asks for custom operators, or contradicts its
            own metadata.
    """
    data, model = _read_onnx(path)
    metadata = ArtifactMetadata.from_properties({entry.key: entry.value for entry in model.metadata_props})
    _check_operators(model)
    _check_interface(model.graph, metadata)
    _check_outside_weights(model, metadata, path)
    parameters = _read_parameters(model.graph, metadata)
    return Artifact(path, data, hashlib.sha256(data).hexdigest(), metadata, parameters)


def _read_onnx(path: Path) -> tuple[bytes, onnx.ModelProto]:
    try:
        data = path.read_bytes()
        return data, onnx.load_model_from_string(data)
    except OSError as error:
        raise ArtifactError(f"it can't be read: {error.strerror}") from error
    except DecodeError as error:
        raise ArtifactError("it isn't an ONNX file, or is cut off") from error


def _check_operators(model: onnx.ModelProto) -> None:
    domains = {opset.domain for opset in model.opset_import} | {node.domain for node in model.graph.node}
    domains |= {function.domain for function in model.functions}
    if custom := sorted(domains.difference(STANDARD_DOMAINS)):
        raise ArtifactError(f"it asks for custom operators ({', '.join(custom)}); only ONNX's own are run")


def _check_interface(graph: onnx.GraphProto, metadata: ArtifactMetadata) -> None:
    """The graph takes `pixels` and gives every layer of the catalogue, and nothing else."""
    inputs = {(value.name, value.type.tensor_type.elem_type, _extent(value)) for value in graph.input}
    if inputs != {(INPUT, TensorProto.UINT8, (0, *PIXELS_SHAPE))}:
        raise ArtifactError(f"its input isn't {INPUT}, uint8 [N, {PIXELS_SHAPE[0]}, {PIXELS_SHAPE[1]}]")
    outputs = {(value.name, value.type.tensor_type.elem_type, _extent(value)) for value in graph.output}
    if outputs != {(layer.name, TensorProto.FLOAT, (0, layer.width)) for layer in metadata.layers}:
        raise ArtifactError("its outputs aren't the layers of its catalogue, float32 [N, width] each")


def _extent(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """The shape of an input or output; 0 stands for a dynamic axis."""
    return tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)


def _check_outside_weights(model: onnx.ModelProto, metadata: ArtifactMetadata, path: Path) -> None:
    """Weights outside of the ONNX file lie in `NAME.data` beside it, and are the ones that were exported."""
    outside = [t for t in model.graph.initializer if onnx.external_data_helper.uses_external_data(t)]
    places = {entry.value for tensor in outside for entry in tensor.external_data if entry.key == "location"}
    beside = path.name + ".data"
    if places.difference({beside}):
        raise ArtifactError(f"its weights lie in {', '.join(sorted(places))}; only {beside} beside it is read")
    if not outside:
        return
    if _sha256(path.with_name(beside)) != metadata.data_sha256:
        raise ArtifactError(f"{beside} beside it isn't the file that it was exported with: their SHA-256 differ")
    onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(f"its weights can't be read from {path.name}: {error.strerror}") from error


def _read_parameters(graph: onnx.GraphProto, metadata: ArtifactMetadata) -> dict[str, Parameters]:
    stored = {tensor.name: tensor for tensor in graph.initializer}
    widths = {layer.name: layer.width for layer in metadata.layers}
    parameters = {}
    for layer in metadata.layers:
        if layer.kind is LayerKind.LINEAR:
            weight = _read_tensor(stored, f"{layer.name}.weight", (layer.width, widths[layer.reads]))
            parameters[layer.name] = Parameters(weight, _read_tensor(stored, f"{layer.name}.bias", (layer.width,)))
    return parameters


def _read_tensor(stored: Mapping[str, TensorProto], name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    if name not in stored:
        raise ArtifactError(f"it stores no {name}")
    values = numpy_helper.to_array(stored[name])
    if values.dtype != np.float32 or values.shape != shape:
        raise ArtifactError(f"its {name} is {values.dtype} {values.shape}, where its catalogue says float32 {shape}")
    return values
