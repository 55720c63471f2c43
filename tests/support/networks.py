"""Random networks in PyTorch, and what interventions and gradients are there: hooks and autograd.

Written apart from the training package's network and from the server's code, which are both compared with it.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vitrine.model import OutputKind, Shape
from vitrine.training.network.mlp import MLP

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Arithmetic = tuple[str, Sequence[int], float, float]
"""A change of one image: layer, units, scale, shift."""


def biased_mlp(hidden: Sequence[int], output: OutputKind, seed: int, shape: Shape) -> MLP:
    """An MLP whose biases are random, too."""
    generator = torch.Generator().manual_seed(seed)
    mlp = MLP(hidden, output, 10, generator, shape)
    for linear in mlp.linears.values():
        assert isinstance(linear, nn.Linear)
        nn.init.normal_(linear.bias, std=0.3, generator=generator)
    return mlp


def sequential_of(mlp: MLP) -> nn.Sequential:
    """The same network as modules with the layers' names, the input layer among them; it takes pixels of 0 to 1."""
    functions: Mapping[str, Any] = {"input": nn.Flatten, "relu": nn.ReLU, "sigmoid": nn.Sigmoid}
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for layer in mlp.layers:
        if layer.kind == "linear":
            modules[layer.name] = mlp.linears[layer.name]
        else:
            modules[layer.name] = nn.Softmax(1) if layer.kind == "softmax" else functions[layer.kind]()
    return nn.Sequential(modules)


def changed_activations(mlp: MLP, pixels: Pixels, changes: Sequence[Sequence[Arithmetic]]) -> dict[str, Floats]:
    """Every layer's activations with changes, by PyTorch's hooks: one sequence of changes for each image."""
    network, seen = sequential_of(mlp), {}

    def hook(name: str) -> Any:
        def change(_: nn.Module, __: Any, output: Tensor) -> Tensor:
            output = output.clone()
            for image, wanted in enumerate(changes):
                for layer, units, scale, shift in wanted:
                    if layer == name:
                        output[image, list(units)] = output[image, list(units)] * scale + shift
            seen[name] = output.numpy()
            return output

        return change

    hooks = [module.register_forward_hook(hook(name)) for name, module in network.named_children()]
    with torch.no_grad():
        network(torch.tensor(pixels).float() / 255)
    for handle in hooks:  # the linear modules are the MLP's own
        handle.remove()
    return seen


def input_gradients(mlp: MLP, values: Tensor, classes: Sequence[int]) -> tuple[Floats, Floats]:
    """Gradients of the scores before the output layer with respect to pixels of 0 to 1, and the scores, by autograd."""
    network = sequential_of(mlp)[:-1]
    values = values.clone().requires_grad_()
    scores = network(values)[range(len(classes)), list(classes)]
    (gradients,) = torch.autograd.grad(scores.sum(), values)
    return gradients.numpy(), scores.detach().numpy()
