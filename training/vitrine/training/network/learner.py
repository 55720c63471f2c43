"""The network as it learns: an MLP with two aids that are gone when it is kept.

Batch normalisation (S. Ioffe and C. Szegedy 2015, arXiv:1502.03167) keeps what a hidden unit calculates around 0 while
everything before it moves, so that steps can be larger. And each unit of the first layer begins by looking at one place
of the image: neighbouring pixels belong together, which an MLP that begins everywhere at once finds out late.

Once learnt, normalisation is a factor and a shift for each unit, which go into its weights and its bias.

It knows neither data nor steps.
"""

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fuse_linear_bn_eval

from vitrine.model import DIGITS, PIXELS_SHAPE, OutputKind
from vitrine.training.network.mlp import MLP, random_linear, scale

SIDE = PIXELS_SHAPE[0]

GLANCE = 1.5
"""How much of the image a unit of the first layer begins with: its window's standard deviation, in pixels."""

GRAIN = 0.7
"""How smooth a pattern it begins with: the standard deviation of the blur, in pixels."""

FEW = 8
"""A batch with fewer examples is normalised by the statistics of those before it: its own say little. Where all batches
are so small, these stay at a mean of 0 and a spread of 1, and nothing is normalised."""

MEMORY = 0.1
"""How far a batch moves the statistics that are kept, once there have been some."""


class Learner(nn.Module):
    """A ReLU MLP whose hidden linear layers are normalised.

    Args:
        hidden: the width of each hidden layer; at least one.
        output: the function of the output layer.
        generator: where the random start comes from.
    """

    def __init__(self, hidden: Sequence[int], output: OutputKind, generator: torch.Generator) -> None:
        super().__init__()
        self._shape = (tuple(hidden), output)
        first, *others = [random_linear(*pair, generator, bias=False) for pair in pairwise((SIDE * SIDE, *hidden))]
        with torch.no_grad():
            _look_at_one_place(first.weight, generator)
        self.linears = nn.ModuleList([first, *others])
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in hidden)
        self.last = random_linear(hidden[-1], len(DIGITS), generator)

    def forward(self, pixels: Tensor) -> Tensor:
        """The last linear layer, which the losses take: (N, 18, 18), 0 to 255, to float32 (N, 10)."""
        values = scale(pixels)  # (N, 324)
        for linear, norm in zip(self.linears, self.norms, strict=True):
            _prepare(cast(nn.BatchNorm1d, norm), self.training and len(values) >= FEW)
            values = torch.relu(norm(linear(values)))  # (N, width)
        logits: Tensor = self.last(values)
        return logits

    def folded(self) -> MLP:
        """The MLP that it is once it has learnt, on the CPU: it gives the same logits."""
        unused = torch.Generator()  # the random start is overwritten, and the global generator isn't drawn from
        mlp, learnt = MLP(*self._shape, generator=unused), copy.deepcopy(self).cpu().eval()
        pairs = zip(learnt.linears, learnt.norms, strict=True)
        hidden = (fuse_linear_bn_eval(cast(nn.Linear, linear), cast(nn.BatchNorm1d, norm)) for linear, norm in pairs)
        for linear, fused in zip(mlp.linears.values(), (*hidden, learnt.last), strict=True):
            linear.load_state_dict(fused.state_dict())
        return mlp


def _prepare(norm: nn.BatchNorm1d, learns: bool) -> None:
    """Whether the next batch is normalised by its own statistics, and how far these move those that are kept.

    The first batches all weigh the same, or a short fit would go by the mean of 0 and the spread of 1 of a beginning.
    """
    norm.train(learns)
    if learns:
        norm.momentum = max(MEMORY, 1 / (1 + int(cast(Tensor, norm.num_batches_tracked))))


def _look_at_one_place(weights: Tensor, generator: torch.Generator) -> None:
    """Makes each row of (width, 324) a blurred pattern within a window of its own, as long a vector as the others."""
    places = torch.arange(SIDE, dtype=weights.dtype)
    centres = torch.rand(len(weights), 2, generator=generator) * SIDE - 0.5
    near = _bell(places - centres[..., None], GLANCE)  # (width, 2, 18)
    blur = _bell(torch.arange(-SIDE, SIDE + 1, dtype=weights.dtype), GRAIN)
    patterns = F.conv2d(weights.view(-1, 1, SIDE, SIDE), blur.outer(blur)[None, None], padding=SIDE)[:, 0]
    windowed = (patterns * near[:, 0, :, None] * near[:, 1, None, :]).flatten(1)
    weights.copy_(F.normalize(windowed) * weights.norm(dim=1).mean())


def _bell(distances: Tensor, spread: float) -> Tensor:
    return torch.exp(-((distances / spread) ** 2) / 2)
