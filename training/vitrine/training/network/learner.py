"""The network during training: an MLP with two aids, which are folded into its parameters when it is kept.

Batch normalisation (S. Ioffe and C. Szegedy 2015, arXiv:1502.03167) keeps each hidden unit around 0 while the layers
before it change, so that steps can be larger. And each unit of the first layer starts with weights in one place of the
image, because neighbouring pixels belong together; an MLP with weights everywhere learns that late.

After training, normalisation is a factor and a shift for each unit, which go into its weights and its bias.

It knows neither data nor steps.
"""

import copy
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fuse_linear_bn_eval

from vitrine.model import DIGITS, PIXELS_SHAPE, OutputKind, Shape
from vitrine.training.lengths import pixel_unit
from vitrine.training.network.mlp import MLP, random_linear, scale

WINDOW_STD = 1.5
"""Standard deviation of the window that a unit of the first layer starts with, in pixels of 18 × 18."""

BLUR_STD = 0.7
"""Standard deviation of the blur of the pattern in that window, in pixels of 18 × 18."""

BLUR_REACH = 18
"""Pixels on each side after which the blur is cut off."""

SMALLEST_BATCH = 8
"""The smallest batch that is normalised by its own statistics; a smaller one by those of the batches before it.

Where all batches are smaller, these stay at a mean of 0 and a spread of 1, and nothing is normalised."""

MOMENTUM = 0.1
"""Weight of a batch in the running statistics, after the first batches."""


class Learner(nn.Module):
    """A ReLU MLP whose hidden linear layers are normalised.

    Args:
        hidden: the width of each hidden layer; at least one.
        output: the function of the output layer.
        generator: source of the random start.
        classes: the number of classes.
        shape: height and width of one image's pixels.
    """

    def __init__(
        self,
        hidden: Sequence[int],
        output: OutputKind,
        generator: torch.Generator,
        classes: int = len(DIGITS),
        shape: Shape = PIXELS_SHAPE,
    ) -> None:
        super().__init__()
        self._layout = (tuple(hidden), output, classes)
        self._shape = shape
        widths = (math.prod(shape), *hidden)
        first, *others = [random_linear(*pair, generator, bias=False) for pair in pairwise(widths)]
        with torch.no_grad():
            _look_at_one_place(first.weight, shape, generator)
        self.linears = nn.ModuleList([first, *others])
        self.norms = nn.ModuleList(nn.BatchNorm1d(width, momentum=1.0) for width in hidden)
        self.last = random_linear(hidden[-1], classes, generator)

    def forward(self, pixels: Tensor) -> Tensor:
        """The last linear layer, which the losses take: (N, height, width), 0 to 255, to float32 (N, classes)."""
        values = scale(pixels)  # (N, height × width)
        for linear, norm in zip(self.linears, self.norms, strict=True):
            _prepare(cast(nn.BatchNorm1d, norm), self.training and len(values) >= SMALLEST_BATCH)
            values = torch.relu(norm(linear(values)))  # (N, width)
        logits: Tensor = self.last(values)
        return logits

    def take_over(self, mlp: MLP, pixels: Tensor) -> None:
        """Takes the parameters of an MLP of the same layers, and calculates what it does from then on.

        Normalisation divides each unit's values by their spread, and takes away their mean. So the unit's factor and
        shift begin with that spread and mean, as `pixels` have them.

        Args:
            mlp: network to start from.
            pixels: (N, height, width), 0 to 255: images like those to learn from, at least two.
        """
        *hidden, last = cast(list[nn.Linear], list(mlp.linears.values()))
        values = scale(pixels)  # (N, height × width)
        with torch.no_grad():
            for linear, norm, source in zip(self.linears, self.norms, hidden, strict=True):
                sums = values @ source.weight.T  # (N, width)
                _normalise_as(cast(nn.BatchNorm1d, norm), sums, source.bias)
                cast(nn.Linear, linear).weight.copy_(source.weight)
                values = torch.relu(sums + source.bias)  # (N, width)
        self.last.load_state_dict(last.state_dict())

    def folded(self) -> MLP:
        """The MLP with the same logits, on the CPU: normalisation is folded into its parameters."""
        unused = torch.Generator()  # the random start is overwritten, and the global generator isn't drawn from
        mlp, learnt = MLP(*self._layout, generator=unused, shape=self._shape), copy.deepcopy(self).cpu().eval()
        pairs = zip(learnt.linears, learnt.norms, strict=True)
        hidden = (fuse_linear_bn_eval(cast(nn.Linear, linear), cast(nn.BatchNorm1d, norm)) for linear, norm in pairs)
        for linear, fused in zip(mlp.linears.values(), (*hidden, learnt.last), strict=True):
            linear.load_state_dict(fused.state_dict())
        return mlp


def _normalise_as(norm: nn.BatchNorm1d, sums: Tensor, bias: Tensor) -> None:
    """Sets a normalisation so that it only adds `bias`, (width,), to values like `sums`, (N, width).

    The statistics count like those of many batches: the next batch moves them by its usual weight only.
    """
    variance, mean = torch.var_mean(sums, dim=0, correction=0)
    state = {
        "running_mean": mean,
        "running_var": variance,
        "num_batches_tracked": torch.tensor(round(1 / MOMENTUM)),
        "weight": torch.sqrt(variance + norm.eps),
        "bias": bias + mean,
    }
    norm.load_state_dict(norm.state_dict() | state)


def _prepare(norm: nn.BatchNorm1d, learns: bool) -> None:
    """Sets whether the next batch is normalised by its own statistics, and their weight in the running ones.

    The first batches all have the same weight; otherwise the start, a mean of 0 and a spread of 1, would decide a
    short fit. After these, the number of batches isn't asked for: a GPU would have to finish its work first.
    """
    norm.train(learns)
    if learns and cast(float, norm.momentum) > MOMENTUM:
        norm.momentum = max(MOMENTUM, 1 / (1 + int(cast(Tensor, norm.num_batches_tracked))))


def _look_at_one_place(weights: Tensor, shape: Shape, generator: torch.Generator) -> None:
    """Makes each row of (width, height × width) a blurred pattern in a window of its own; all rows equally long."""
    sides, unit = torch.tensor(shape, dtype=weights.dtype), pixel_unit(shape)
    centres = torch.rand(len(weights), 2, generator=generator) * sides - 0.5
    down, across = (
        _bell(torch.arange(side, dtype=weights.dtype) - centre[:, None], WINDOW_STD * unit)  # (width, side)
        for side, centre in zip(shape, centres.unbind(dim=1), strict=True)
    )
    blur = _bell(torch.arange(-BLUR_REACH, BLUR_REACH + 1, dtype=weights.dtype), BLUR_STD * unit)
    patterns = F.conv2d(weights.view(-1, 1, *shape), blur.outer(blur)[None, None], padding=BLUR_REACH)[:, 0]
    windowed = (patterns * down[:, :, None] * across[:, None, :]).flatten(1)
    weights.copy_(F.normalize(windowed) * weights.norm(dim=1).mean())


def _bell(distances: Tensor, spread: float) -> Tensor:
    return torch.exp(-((distances / spread) ** 2) / 2)
