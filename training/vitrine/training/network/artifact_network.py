"""Reads the network of an artifact back into PyTorch: parameters, and the proof that they calculate the same.

It knows no run, and runs no graph: the artifact must be a multilayer perceptron as this package exports it.
"""

from pathlib import Path

import torch
from onnx import numpy_helper

from vitrine.model import TOLERANCE, ArtifactError, ArtifactMetadata, LayerKind, OutputKind, deviation
from vitrine.training.network.mlp import MLP
from vitrine.training.network.upgrade import read_artifact


def read_network(path: Path) -> tuple[MLP, ArtifactMetadata]:
    """The network of an artifact, its logits divided by the temperature, on the CPU; and the artifact's metadata.

    Raises:
        ArtifactError: the file can't be read, isn't the network that its metadata describes, or doesn't calculate the
            golden sample as it was exported.
    """
    model, metadata = read_artifact(path)
    unused, shape = torch.Generator(), metadata.input.shape  # the random start is overwritten
    mlp = MLP(hidden_of(metadata), output_of(metadata), len(metadata.task.classes), unused, shape)
    stored = {
        f"linears.{tensor.name}": torch.tensor(numpy_helper.to_array(tensor)) for tensor in model.graph.initializer
    }
    try:
        mlp.load_state_dict({name: stored[name] for name in mlp.state_dict()})
        with torch.no_grad():
            computed = mlp.activations(torch.tensor(metadata.golden.pixels))
    except (KeyError, RuntimeError) as error:
        raise ArtifactError(f"{metadata.name} isn't a multilayer perceptron of this version: {error}") from error
    for layer, expected in metadata.golden.activations.items():
        if deviation(computed[layer].numpy(), expected) > TOLERANCE:
            raise ArtifactError(f"{metadata.name} doesn't calculate its golden sample in PyTorch: {layer} differs")
    return mlp, metadata


def hidden_of(metadata: ArtifactMetadata) -> tuple[int, ...]:
    """The width of each hidden layer."""
    return tuple(layer.width for layer in metadata.layers if layer.kind is LayerKind.RELU)


def output_of(metadata: ArtifactMetadata) -> OutputKind:
    """Function of the output layer."""
    return "sigmoid" if metadata.layers[-1].kind is LayerKind.SIGMOID else "softmax"


def temperature_of(metadata: ArtifactMetadata) -> float:
    """Divisor of the network's logits; 1 where none is recorded."""
    return float(metadata.training.metrics.get("temperature", 1.0))
