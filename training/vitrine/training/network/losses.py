"""The losses of training: against the labels, or against a teacher's logits.

With counter-examples, "no class" is one more answer. It has no unit: its logit is 0, so that softmax([logits, 0]) gives
the probability of every class and of none. Σ exp(logits) is then large for the classes and small for anything else, and
novelty, -log Σ exp(logits), is the logit of "no class" against all classes.
"""

from torch import Tensor
from torch.nn import functional as F

from vitrine.model import OutputKind

SOFTNESS = 3.0
"""The temperature of distillation: the teacher's probabilities beside its largest one teach most."""


def loss_of(output: OutputKind, logits: Tensor, labels: Tensor) -> Tensor:
    """The loss that belongs to an output layer: the mean over examples, of the sum over classes.

    Args:
        output: `softmax` has cross-entropy; `sigmoid` binary cross-entropy, each class by itself.
        logits: float32 (N, C).
        labels: int64 (N,), 0 to C - 1; for `sigmoid` also C, for an image of no class: every target is 0.
    """
    if output == "softmax":
        return F.cross_entropy(logits, labels)
    targets = F.one_hot(labels, logits.shape[1] + 1)[:, :-1].to(logits.dtype)  # (N, C)
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(labels)


def losses_of(output: OutputKind, logits: Tensor, labels: Tensor) -> Tensor:
    """Loss of each example, whose mean is `loss_of`: float32 (N, C) and int64 (N,) to float32 (N,)."""
    if output == "softmax":
        return F.cross_entropy(logits, labels, reduction="none")
    targets = F.one_hot(labels, logits.shape[1]).to(logits.dtype)  # (N, C)
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1)


def with_no_digit(logits: Tensor) -> Tensor:
    """The logits of the classes and, last, that of "no class", 0: (N, C) to (N, C + 1)."""
    return F.pad(logits, (0, 1))


def distillation_loss(logits: Tensor, judgement: Tensor) -> Tensor:
    """The distillation loss: the Kullback-Leibler divergence of the softened probabilities, mean over the batch.

    G. Hinton et al. 2015 (arXiv:1503.02531); the square keeps the gradient's size as the softness changes.

    Args:
        logits: float32 (N, C).
        judgement: the teacher's logits, float32 (N, C).
    """
    ours, theirs = (F.log_softmax(values / SOFTNESS, dim=1) for values in (logits, judgement))
    return SOFTNESS**2 * F.kl_div(ours, theirs, reduction="batchmean", log_target=True)
