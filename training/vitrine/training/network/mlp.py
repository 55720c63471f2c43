"""The ReLU MLP in PyTorch: stored parameters and calculated activations.

It knows neither data nor training. Its layers have the names that the artifact, the wire and the SDK use.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vitrine.model import PIXELS_SHAPE, Layer, LayerKind, OutputKind, Shape, layer_catalogue


class MLP(nn.Module):
    """A multilayer perceptron on pixels: linear and ReLU layers in turn, softmax or sigmoid at the end.

    Args:
        hidden: the width of each hidden layer; at least one.
        output: the function of the output layer.
        classes: the number of classes.
        generator: source of the random start; None takes PyTorch's global one.
        shape: height and width of one image's pixels.
    """

    def __init__(
        self,
        hidden: Sequence[int],
        output: OutputKind = "softmax",
        classes: int = 10,
        generator: torch.Generator | None = None,
        shape: Shape = PIXELS_SHAPE,
    ) -> None:
        super().__init__()
        self.shape = shape
        """Height and width of one image's pixels."""
        self.layers: tuple[Layer, ...] = layer_catalogue(hidden, output, classes, shape)
        self.linears = nn.ModuleDict()
        width_of = {layer.name: layer.width for layer in self.layers}
        for layer in self.layers:
            if layer.kind is LayerKind.LINEAR:
                (reads,) = layer.reads
                self.linears[layer.name] = random_linear(width_of[reads], layer.width, generator)

    def forward(self, pixels: Tensor) -> Tensor:
        """The last linear layer, which the losses take: (N, height, width), 0 to 255, to float32 (N, classes)."""
        *hidden, last = self.linears.values()
        values = scale(pixels)  # (N, height × width)
        for linear in hidden:
            values = torch.relu(linear(values))  # (N, width)
        logits: Tensor = last(values)
        return logits

    def activations(self, pixels: Tensor) -> dict[str, Tensor]:
        """Every layer's activations by name: (N, height, width), 0 to 255, to float32 (N, *the layer's shape)."""
        values = {"input": scale(pixels)}
        for layer in self.layers[1:]:
            (reads,) = layer.reads
            values[layer.name] = self._calculate(layer, values[reads])
        return values

    def divide_logits(self, temperature: float) -> None:
        """Divides the last linear layer by a number above 0; no prediction changes.

        Its parameters are divided, not its activations. So every served layer still follows from the served
        parameters, and the graph needs no further operator.
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
    """The input layer: (N, height, width), 0 (white) to 255 (black), to float32 (N, height × width), 0 to 1."""
    return (pixels.to(torch.float32) / 255).flatten(1)


def novelty_of(logits: Tensor) -> Tensor:
    """The energy score of images: the last linear layer's activations, float32 (N, C), to float32 (N,).

    −log Σ exp (W. Liu et al. 2020, arXiv:2010.03759): large where no class has a large logit. Probabilities can't show
    that, because softmax divides by this sum.
    """
    return -torch.logsumexp(logits, dim=1)


def random_linear(reads: int, width: int, generator: torch.Generator | None, *, bias: bool = True) -> nn.Linear:
    """A linear layer for ReLU: weights drawn as in K. He et al. 2015 (arXiv:1502.01852), biases of zero."""
    empty = nn.Linear(reads, width, bias=bias, device="meta")  # drawn once, and from no global generator
    linear = empty.to_empty(device="cpu")
    nn.init.kaiming_normal_(linear.weight, nonlinearity="relu", generator=generator)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear
