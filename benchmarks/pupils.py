"""How much a pupil has learnt from its teacher: on bent images of people that neither of them has seen.

    python benchmarks/pupils.py RUN… [--json]

A validation part of some thousand images can't tell good networks apart by their errors. Bent in eight ways it has
eight times as many, and harder ones; and how far a pupil's answers are from its teacher's is a number for each image,
where an error is a yes or a no. The bends are the same for every run, and none that a fit makes lessons of.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import torch
from torch import Tensor

from vitrine.training import Checkpoint, RunFolder, load_dataset
from vitrine.training.data import split
from vitrine.training.examples.batches import CHUNK_SIZE, TEACHER_BATCH_SIZE, VERSIONS_SEED, AugmentedBatches
from vitrine.training.network.losses import distillation_loss, with_no_digit
from vitrine.training.randomness import Stream, torch_generator
from vitrine.training.run.teacher import load_teacher

VERSION = 1077
"""Which version of the images they are: no fit has so many."""

BENDS = 8
"""How often each image is bent."""


@dataclass(frozen=True)
class Pupil:
    """What one run has come to."""

    run: str
    """Its folder."""
    seed: int
    """Its seed."""
    validation_error: float
    """Of the images as they are, 0 to 1."""
    validation_loss: float
    """Cross-entropy of the ten digits, before the temperature."""
    bent_error: float
    """Of the bent images, 0 to 1."""
    divergence: float
    """`distillation_loss` of the bent images: the Kullback-Leibler divergence of the softened answers, times 9."""
    teacher_bent_error: float
    """The teacher's own, 0 to 1."""

    def to_text(self) -> str:
        """It in a line."""
        return (
            f"{self.run}: seed {self.seed}, validation error {self.validation_error:.2%}, loss "
            f"{self.validation_loss:.4f}; bent: error {self.bent_error:.2%}, divergence {self.divergence:.4f}, "
            f"the teacher's error {self.teacher_bent_error:.2%}"
        )


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object in place of text.")
def main(runs: tuple[Path, ...], as_json: bool) -> None:
    """Measure the pupils in the folders RUNS, each with its teacher, and print what was found."""
    found = []
    for run in runs:
        found.append(measure(RunFolder(run)))
        if not as_json:
            click.echo(found[-1].to_text())
    if as_json:
        click.echo(json.dumps({"pupils": [asdict(pupil) for pupil in found]}))


def measure(run: RunFolder) -> Pupil:
    """What a run has come to; it learnt from a teacher."""
    checkpoint = Checkpoint.load(run.checkpoint)
    pixels, labels = bent_images(checkpoint)
    teacher = load_teacher(run.teacher, {}).folded()
    with torch.no_grad():
        taught, learnt = asked(teacher, pixels), asked(checkpoint.untempered_mlp(), pixels)
        answers = with_no_digit(learnt) if taught.shape[1] > learnt.shape[1] else learnt
        divergence = float(distillation_loss(answers, taught))
    errors = (error(logits[:, : learnt.shape[1]], labels) for logits in (learnt, taught))
    epoch = checkpoint.kept
    facts = (str(run.path), checkpoint.config.seed, epoch.validation_error, epoch.validation_loss)
    return Pupil(*facts, next(errors), divergence, next(errors))


def bent_images(checkpoint: Checkpoint) -> tuple[Tensor, Tensor]:
    """The validation part of a run, bent: uint8 (8 V, 18, 18) and int64 (8 V,)."""
    examples, config = load_dataset(checkpoint.identity.source).train, checkpoint.config
    _, held_out = split(examples, config.validation, config.seed)
    lessons = AugmentedBatches(examples[held_out], config.augment, VERSIONS_SEED, torch.device("cpu"))
    generator = torch_generator(VERSIONS_SEED, Stream.VERSION, VERSION)
    chunks = torch.arange(len(lessons)).repeat(BENDS).reshape(BENDS, -1)
    pixels = [lessons.augmented(chosen, generator) for version in chunks for chosen in torch.split(version, CHUNK_SIZE)]
    labels = torch.tensor(examples.labels[held_out]).repeat(BENDS)
    return torch.cat([bent.round().to(torch.uint8) for bent in pixels]), labels


def asked(network: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """The logits of a network, a batch at a time."""
    return torch.cat([network(batch) for batch in torch.split(pixels, TEACHER_BATCH_SIZE)])


def error(logits: Tensor, labels: Tensor) -> float:
    """The share of images whose largest logit is another's, 0 to 1."""
    return float((logits.argmax(dim=1) != labels).to(torch.float64).mean())


if __name__ == "__main__":
    main()
