"""Error and divergence from the teacher of distilled networks, on bent images that neither of them has seen.

    python -m benchmarks.students RUN… [--json]

A validation part of some thousand images can't tell good networks apart by their errors. Bent in eight ways it has
eight times as many images, and harder ones. The divergence from the teacher's answers is a number for each image, where
an error is a yes or a no. The bends are the same for every run, and no fit trains on them. It prints a line for each
run.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import torch
from torch import Tensor

from benchmarks.harness.machine import machine, machine_line
from benchmarks.harness.rounds import with_progress
from vitrine.training import Checkpoint, RunFolder, load_dataset
from vitrine.training.data import split
from vitrine.training.examples.batches import CHUNK_SIZE, TEACHER_BATCH_SIZE, VERSIONS_SEED, AugmentedBatches
from vitrine.training.network.losses import distillation_loss, with_no_digit
from vitrine.training.randomness import Stream, torch_generator
from vitrine.training.run.teacher import load_teacher

VERSION = 1077
"""Version number of the bent images; no fit has so many versions."""

BENDS = 8
"""Bent versions of each image."""


@dataclass(frozen=True)
class Student:
    """Measurements of one run's network."""

    run: str
    """Folder of the run."""
    seed: int
    validation_error: float
    """Error on the images as they are, 0 to 1."""
    validation_loss: float
    """Cross-entropy of the ten digits, before the temperature."""
    bent_error: float
    """Error on the bent images, 0 to 1."""
    divergence: float
    """`distillation_loss` of the bent images: the Kullback-Leibler divergence of the softened answers, times 9."""
    teacher_bent_error: float
    """The teacher's error on the bent images, 0 to 1."""

    def to_text(self) -> str:
        """One line of text."""
        return (
            f"{self.run}: seed {self.seed}, validation error {self.validation_error:.2%}, loss "
            f"{self.validation_loss:.4f}; bent: error {self.bent_error:.2%}, divergence {self.divergence:.4f}, "
            f"the teacher's error {self.teacher_bent_error:.2%}"
        )


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def main(runs: tuple[Path, ...], as_json: bool) -> None:
    """Measure the networks in the run folders RUNS beside their teachers, and print their errors."""
    for run in runs:
        if not RunFolder(run).teacher.is_file():
            raise click.UsageError(f"{run} has no teacher.pt: name runs that had a teacher (--teacher-epochs)")
    found = [measure(RunFolder(run)) for run in with_progress(runs)]
    if as_json:
        click.echo(json.dumps({"machine": machine("torch"), "students": [asdict(student) for student in found]}))
    else:
        click.echo("\n".join([machine_line("torch"), *(student.to_text() for student in found)]))


def measure(run: RunFolder) -> Student:
    """Measures the network of a run, which must have a teacher."""
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
    return Student(*facts, next(errors), divergence, next(errors))


def bent_images(checkpoint: Checkpoint) -> tuple[Tensor, Tensor]:
    """Bent validation part of a run, V images: uint8 (8 V, 18, 18), with labels int64 (8 V,)."""
    examples, config = load_dataset(checkpoint.identity.source).train, checkpoint.config
    _, held_out = split(examples, config.validation, config.seed)
    batches = AugmentedBatches(examples[held_out], config.augment, VERSIONS_SEED, torch.device("cpu"))
    generator = torch_generator(VERSIONS_SEED, Stream.VERSION, VERSION)
    chunks = torch.arange(len(batches)).repeat(BENDS).reshape(BENDS, -1)
    pixels = [batches.augmented(chosen, generator) for version in chunks for chosen in torch.split(version, CHUNK_SIZE)]
    labels = torch.tensor(examples.labels[held_out]).repeat(BENDS)
    return torch.cat([bent.round().to(torch.uint8) for bent in pixels]), labels


def asked(network: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """Logits of a network, calculated in batches: float32 (N, outputs)."""
    return torch.cat([network(batch) for batch in torch.split(pixels, TEACHER_BATCH_SIZE)])


def error(logits: Tensor, labels: Tensor) -> float:
    """Share of images whose largest logit isn't the label's, 0 to 1."""
    return float((logits.argmax(dim=1) != labels).to(torch.float64).mean())


if __name__ == "__main__":
    main()
