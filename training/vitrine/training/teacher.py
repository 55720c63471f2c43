"""The teacher: a small convolutional network that learns digits first, and then teaches them to the MLP.

It sees what neighbours have in common, which an MLP must learn anew at each place, so it errs less with fewer
parameters. It is never exported: what is served is the MLP. Learning from its logits rather than from bare labels is
distillation (G. Hinton et al. 2015, arXiv:1503.02531), over many bends of each image (L. Beyer et al. 2022,
arXiv:2106.05237).
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from vitrine.model.preparation import SIDE
from vitrine.training.errors import CheckpointError, TrainingError
from vitrine.training.lessons import Lessons
from vitrine.training.mlp import scale
from vitrine.training.precision import mixed_precision
from vitrine.training.randomness import Stream, entropy
from vitrine.training.schedule import learning_rate_at
from vitrine.training.sealed import read_sealed, write_sealed

CHANNELS = 24
"""The channels of the first two layers; later ones have twice and three times as many."""

BATCH_SIZE = 128
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.02
"""AdamW's settings for the teacher."""

DROPOUT = 0.3
"""The share of the last features that is left out while it learns."""

FORMAT_VERSION = 1
"""The version of a teacher's file."""


class Teacher(nn.Module):
    """Five 3 × 3 convolutions with batch normalisation, the image halved twice, and one linear layer.

    Args:
        classes: how many logits it gives.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        one, two, three = CHANNELS, 2 * CHANNELS, 3 * CHANNELS
        self.features = nn.Sequential(
            *_convolution(1, one),
            *_convolution(one, one),
            nn.MaxPool2d(2),  # (B, C, 9, 9)
            *_convolution(one, two),
            *_convolution(two, two),
            nn.MaxPool2d(2),  # (B, 2C, 4, 4)
            *_convolution(two, three),
        )
        self.last = nn.Linear(three * 4 * 4, classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 18, 18), 0 to 255, to logits, float32 (B, classes)."""
        images = scale(pixels).view(-1, 1, SIDE, SIDE).contiguous(memory_format=torch.channels_last)  # fastest on a CPU
        features = self.features(images).flatten(1)
        logits: Tensor = self.last(F.dropout(features, DROPOUT, self.training))
        return logits


def _convolution(reads: int, gives: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(reads, gives, 3, padding=1, bias=False), nn.BatchNorm2d(gives), nn.ReLU()


def fit_teacher(lessons: Lessons, classes: int, epochs: int, seed: int, *, progress: bool = True) -> Teacher:
    """Fits a teacher, with one cycle of the learning rate, where the lessons are.

    Args:
        lessons: what it learns from.
        classes: how many classes the labels have.
        epochs: passes over the examples, at least 1.
        seed: where its random start comes from.
        progress: whether to show a bar.

    Raises:
        TrainingError: its parameters are no numbers any more.
    """
    device = lessons.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):  # dropout has no generator
        torch.manual_seed(entropy(seed, Stream.TEACHER))
        teacher = Teacher(classes).to(device).train()
        optimizer = torch.optim.AdamW(teacher.parameters(), weight_decay=WEIGHT_DECAY, fused=True)
        steps = epochs * math.ceil(len(lessons) / BATCH_SIZE)
        with tqdm(desc="fit teacher", total=steps, unit="step", disable=not progress, dynamic_ncols=True) as bar:
            numbers = range(1, epochs + 1)
            batches = (lesson for number in numbers for lesson in lessons.epoch(number, BATCH_SIZE, Stream.TEACHER))
            for step, lesson in enumerate(batches):
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate_at(step, steps, LEARNING_RATE)
                with mixed_precision(device):
                    loss = F.cross_entropy(teacher(lesson.pixels), lesson.labels)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                bar.update()
    if not all(bool(values.isfinite().all()) for values in teacher.state_dict().values()):
        raise TrainingError("the teacher's parameters are no numbers any more: bend the images less, or do without it")
    return teacher.eval()


def save_teacher(path: Path, teacher: Teacher, facts: Mapping[str, Any]) -> None:
    """Writes a teacher, with what it was taught: plain data by name."""
    write_sealed(path, {"teacher_version": FORMAT_VERSION, "facts": dict(facts), "weights": teacher.state_dict()})


def load_teacher(path: Path, facts: Mapping[str, Any]) -> Teacher:
    """Reads a teacher, on the CPU and ready to be asked.

    Raises:
        CheckpointError: it is missing or damaged, or was taught other data or with other settings than `facts` says.
    """
    document = read_sealed(path)
    if document.get("teacher_version") != FORMAT_VERSION:
        raise CheckpointError(f"{path} isn't a teacher of this Vitrine's")
    differing = [name for name in facts if document["facts"].get(name) != facts[name]]
    if differing:
        raise CheckpointError(
            f"the teacher {path} was taught with another {', '.join(differing)}: remove it, or name its like"
        )
    weights = document["weights"]
    teacher = Teacher(len(weights["last.bias"]))
    teacher.load_state_dict(weights)
    return teacher.eval()
