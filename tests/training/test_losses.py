"""Losses take labels, no digit among them, and what a teacher says."""

import pytest
import torch
from torch.nn import functional as F

from vitrine.model import DIGITS
from vitrine.training.network.losses import SOFTNESS, distillation_loss, loss_of, with_no_digit
from vitrine.training.network.mlp import novelty_of


def test_novelty_is_the_logit_of_no_digit_against_all_digits() -> None:
    logits = torch.tensor([[3.0, -1.0] + [0.0] * 8, [-5.0] * 10])
    chances = torch.softmax(with_no_digit(logits), dim=1)
    against = torch.log(chances[:, -1] / chances[:, :-1].sum(dim=1))
    torch.testing.assert_close(novelty_of(logits), against)


def test_an_image_without_a_digit_wants_every_logit_low() -> None:
    labels = torch.tensor([len(DIGITS)])
    for output in ("softmax", "sigmoid"):
        losses = []
        for level in (-4.0, 0.0, 4.0):
            logits = torch.full((1, 10), level)
            losses.append(float(loss_of(output, with_no_digit(logits) if output == "softmax" else logits, labels)))
        assert losses == sorted(losses)
        assert losses[0] < 0.2


def test_a_student_that_says_what_its_teacher_says_has_nothing_to_learn() -> None:
    judgement = torch.randn(5, 11, generator=torch.Generator().manual_seed(0))
    assert float(distillation_loss(judgement + 3.0, judgement)) == pytest.approx(0.0, abs=1e-6)
    assert float(distillation_loss(judgement.flip(0), judgement)) > 0.1


def test_distillation_is_the_divergence_of_the_softened_answers() -> None:
    ours, theirs = torch.randn(2, 4, 10, generator=torch.Generator().manual_seed(1))
    p, q = (F.softmax(logits / SOFTNESS, dim=1) for logits in (theirs, ours))
    by_hand = SOFTNESS**2 * (p * (p / q).log()).sum() / 4
    torch.testing.assert_close(distillation_loss(ours, theirs), by_hand)
