"""The ReLU MLP in PyTorch: parameters that are stored, activations that are calculated.

It knows neither data nor training; its layers carry the names that the artifact, the wire and the SDK use.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vitrine.model import Layer, LayerKind, OutputKind, layer_catalogue


class MLP(nn.Module):
    """A multilayer perceptron on 18 × 18 pixels: linear and ReLU layers in turn, softmax or sigmoid at the end.

    Args:
        hidden: the width of each hidden layer; at least one.
        output: the function of the output layer.
        classes: the number of classes.
        generator: where the random start comes from; None takes PyTorch's global one.
    """

    def __init__(
        self,
        hidden: Sequence[int],
        output: OutputKind = "softmax",
        classes: int = 10,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.layers: tuple[Layer, ...] = layer_catalogue(hidden, output, classes)
        self.linears = nn.ModuleDict()
        width_of = {layer.name: layer.width for layer in self.layers}
        for layer in self.layers:
            if layer.kind is LayerKind.LINEAR:
                (reads,) = layer.reads
                self.linears[layer.name] = random_linear(width_of[reads], layer.width, generator)

    def forward(self, pixels: Tensor) -> Tensor:
        """The last linear layer, which the losses take: (N, 18, 18), 0 to 255, to float32 (N, classes)."""
        *hidden, last = self.linears.values()
        values = scale(pixels)  # (N, 324)
        for linear in hidden:
            values = torch.relu(linear(values))  # (N, width)
        logits: Tensor = last(values)
        return logits

    def activations(self, pixels: Tensor) -> dict[str, Tensor]:
        """Every layer's activations by name: (N, 18, 18), 0 to 255, to float32 (N, width) each."""
        values = {"input": scale(pixels)}
        for layer in self.layers[1:]:
            (reads,) = layer.reads
            values[layer.name] = self._calculate(layer, values[reads])
        return values

    def divide_logits(self, temperature: float) -> None:
        """Divides the last linear layer by a number above 0, which moves no prediction.

        Its parameters are divided, not its activations: so the layers that are served, the parameters that they are
        calculated with and the probabilities chain as ever, and the graph needs no operator more.
        """
        *_, last = self.linears.values()
        with torch.no_grad():
            for parameter in last.parameters():
                parameter.div_(temperature)

    def _calculate(self, layer: Layer, before: Tensor) -> Tensor:
        match layer.kind:
            case LayerKind.LINEAR:
                linear: Tensor = self.linears[layer.name](before)
                return linear
            case LayerKind.RELU:
                return torch.relu(before)
            case LayerKind.SOFTMAX:
                return torch.softmax(before, dim=1)
            case _:
                return torch.sigmoid(before)


def scale(pixels: Tensor) -> Tensor:
    """The input layer: (N, 18, 18), 0 (white) to 255 (black), to float32 (N, 324), 0 to 1, row by row."""
    return (pixels.to(torch.float32) / 255).flatten(1)


def novelty_of(logits: Tensor) -> Tensor:
    """How unlike a digit images are: float32 (N, C), the last linear layer's, to float32 (N,).

    −log Σ exp, the energy of W. Liu et al. 2020 (arXiv:2010.03759): large where no class is spoken for. Probabilities
    can't tell that: softmax divides by that very sum.
    """
    return -torch.logsumexp(logits, dim=1)


def random_linear(reads: int, width: int, generator: torch.Generator | None, *, bias: bool = True) -> nn.Linear:
    """Weights as He et al. 2015 (arXiv:1502.01852) draw them for ReLU, and biases of zero."""
    empty = nn.Linear(reads, width, bias=bias, device="meta")  # drawn once, and from no global generator
    linear = empty.to_empty(device="cpu")
    nn.init.kaiming_normal_(linear.weight, nonlinearity="relu", generator=generator)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear
