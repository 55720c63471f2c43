"""What training makes smaller: how far a network's answer is from the label, or from what its teacher says.

Among counter-examples, "no digit" is one answer more. It has no unit of its own: its logit is 0, so that
softmax([logits, 0]) says of every image how likely each digit is, and how likely none. A digit's Σ exp(logits) is then
large and that of anything else small, and novelty, -log Σ exp(logits), is the logit of "no digit" against all digits.
"""

from torch import Tensor
from torch.nn import functional as F

from vitrine.model import OutputKind

SOFTNESS = 3.0
"""The temperature at which a teacher is listened to: what it holds possible beside its answer teaches most."""


def loss_of(output: OutputKind, logits: Tensor, labels: Tensor) -> Tensor:
    """The loss that belongs to an output layer: the mean over examples, of the sum over classes.

    Args:
        output: `softmax` has cross-entropy; `sigmoid` binary cross-entropy, each class a question of its own.
        logits: float32 (N, C).
        labels: int64 (N,), 0 to C - 1; for `sigmoid` also C, of what is no digit: all questions are answered by no.
    """
    if output == "softmax":
        return F.cross_entropy(logits, labels)
    targets = F.one_hot(labels, logits.shape[1] + 1)[:, :-1].to(logits.dtype)  # (N, C)
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(labels)


def with_no_digit(logits: Tensor) -> Tensor:
    """The logits of the digits and, last, that of "no digit", 0: (N, 10) to (N, 11)."""
    return F.pad(logits, (0, 1))


def distillation_loss(logits: Tensor, judgement: Tensor) -> Tensor:
    """How far a network is from its teacher: the Kullback-Leibler divergence of the softened answers, over the batch.

    G. Hinton et al. 2015 (arXiv:1503.02531); the square keeps the gradient's size as the softness changes.

    Args:
        logits: float32 (N, C).
        judgement: the teacher's logits, float32 (N, C).
    """
    ours, theirs = (F.log_softmax(values / SOFTNESS, dim=1) for values in (logits, judgement))
    return SOFTNESS**2 * F.kl_div(ours, theirs, reduction="batchmean", log_target=True)
