"""How fast `vitrine-train fit` is: preparing, epochs and what they are made of, and the time to a test accuracy.

    python benchmarks/training_speed.py [--recipe quick] [--runs 3] [--json] [-- --epochs 20 …]

It runs the command as a user would, once for each seed, in a process of its own, and reads what the run says of itself.
Nothing stops at the test accuracy: settings are chosen by the validation part, a run goes to its end, and the test part
is measured once, then. So the time to 99 % is that of complete short runs which end above it, and the benchmark says of
each whether it did. Then it takes the trainer of the last run, times some epochs, and profiles one.

All of it is for a CPU. Set VITRINE_DATA_DIR, or the first preparation holds MNIST's download, too.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch
from figure import Figure
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

from vitrine.training import RECIPES, Checkpoint, Dataset, RunFolder, load_dataset
from vitrine.training.examples.batches import PROFILER_LABEL
from vitrine.training.run.fit import trainer_for
from vitrine.training.run.recipes import DATA_SETS
from vitrine.training.run.trainer import Trainer

PROGRAM = "from vitrine.training.cli import main; main()"

MATRIX_PRODUCTS = ("aten::mm", "aten::addmm")
"""What linear layers run, forwards and backwards. Bending has products of its own, of other names."""

OPTIMIZER = "Optimizer.step#AdamW.step"
"""What PyTorch calls a step of the optimizer in a profile."""


@dataclass(frozen=True)
class Preparation:
    """How long the data set takes to be there, in seconds."""

    cold: float
    """The first time: every image is prepared."""
    cached: float
    """Every other time."""


@dataclass(frozen=True)
class CompleteRun:
    """One call of the command."""

    seed: int
    """Its seed."""
    training_seconds: float
    """All epochs, each with its validation."""
    command_seconds: float
    """The whole command: starting Python, data from the cache, training, evaluation, export, pictures."""
    validation_accuracy: float
    """What the settings may be chosen by, 0 to 1."""
    test_accuracy: float
    """What it ended with, 0 to 1."""


@dataclass(frozen=True)
class Epochs:
    """What the epochs of a recipe are like."""

    seconds: Figure
    """An epoch with its validation, after one that doesn't count."""
    images: int
    """Training images in an epoch."""
    checkpoint_seconds: float
    """Writing the checkpoint, which follows each epoch."""
    shares: dict[str, float]
    """What an epoch's time goes into, 0 to 1, by name, as a profiler sees it, which costs a little itself."""


@click.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--recipe", type=click.Choice(list(RECIPES)), default="quick", show_default=True, help="What is measured."
)
@click.option("--runs", default=3, show_default=True, help="Complete runs, with the seeds 0, 1, 2, …")
@click.option("--epochs-timed", default=5, show_default=True, help="Epochs that are timed.")
@click.option("--target", default=0.99, show_default=True, help="The test accuracy that a run should reach.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object in place of text.")
@click.argument("settings", nargs=-1, type=click.UNPROCESSED)
def main(recipe: str, runs: int, epochs_timed: int, target: float, as_json: bool, settings: tuple[str, ...]) -> None:
    """Measure, with further SETTINGS of vitrine-train fit where they are given, and print what was found."""
    preparation = measure_preparation(DATA_SETS[recipe])
    dataset = load_dataset(DATA_SETS[recipe], progress=False)  # into the cache that the runs read
    with tempfile.TemporaryDirectory() as folder:
        command = ("--recipe", recipe, *settings)
        complete = [run_command(Path(folder, str(seed)), seed, command) for seed in range(runs)]
        run = RunFolder(Path(folder, str(runs - 1)))
        epochs = measure_epochs(run, dataset, epochs_timed)
        config = Checkpoint.load(run.checkpoint).config.to_dict()
    found = Found(recipe, config, preparation, epochs, tuple(complete), target)
    click.echo(json.dumps(found.to_dict()) if as_json else found.to_text())


def measure_preparation(source: str) -> Preparation:
    """Loads a data set twice, from a cache that is empty at first."""
    with tempfile.TemporaryDirectory() as cache, cached_in(cache):
        return Preparation(seconds_of(load_dataset, source), seconds_of(load_dataset, source))


@contextmanager
def cached_in(folder: str) -> Iterator[None]:
    """With another cache."""
    before = os.environ.get("VITRINE_CACHE_DIR")
    os.environ["VITRINE_CACHE_DIR"] = folder
    try:
        yield
    finally:
        del os.environ["VITRINE_CACHE_DIR"]
        if before is not None:
            os.environ["VITRINE_CACHE_DIR"] = before


def seconds_of(load: Any, source: str) -> float:
    """How long one loading takes."""
    begun = time.perf_counter()
    load(source, progress=False)
    return time.perf_counter() - begun


def run_command(folder: Path, seed: int, settings: tuple[str, ...]) -> CompleteRun:
    """Fits in a process of its own, and reads what the run says of itself."""
    words = ("fit", "--run", str(folder), "--seed", str(seed), "--device", "cpu", "--quiet", *settings)
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", PROGRAM, *words], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begun
    metrics = json.loads(RunFolder(folder).metrics.read_bytes())
    validation = 1 - Checkpoint.load(RunFolder(folder).checkpoint).kept.validation_error
    return CompleteRun(seed, metrics["seconds"], seconds, validation, metrics["test"]["accuracy"])


def measure_epochs(run: RunFolder, dataset: Dataset, count: int) -> Epochs:
    """Goes on with a run's network, in memory: some epochs that are timed, and one that is profiled.

    Where a teacher's versions take turns there is one here, which the first epoch makes: later ones read theirs, too.
    """
    checkpoint = Checkpoint.load(run.checkpoint)
    checkpoint = replace(checkpoint, history=(), config=replace(checkpoint.config, versions=1))
    torch.set_num_threads(checkpoint.config.threads)
    checkpoint, trainer = trainer_for(checkpoint, dataset.train, run, None, progress=False)
    for _ in range(1 + count):
        checkpoint = trainer.run_epoch(checkpoint, no_bar())
    seconds = [epoch.seconds for epoch in checkpoint.history[1:]]
    begun = time.perf_counter()
    checkpoint.save(run.path / "again.pt")
    writing = time.perf_counter() - begun
    return Epochs(Figure.of(seconds), trainer.examples, writing, profiled_shares(trainer, checkpoint))


def profiled_shares(trainer: Trainer, checkpoint: Checkpoint) -> dict[str, float]:
    """What one more epoch's time goes into: 0 to 1 by name, 1 together."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        begun = time.perf_counter()
        trainer.run_epoch(checkpoint, no_bar())
        total = 1e6 * (time.perf_counter() - begun)
    events = {event.key: event for event in profiler.key_averages()}
    spent = {
        "matrix products": sum(events[name].self_cpu_time_total for name in MATRIX_PRODUCTS),
        "lessons": events[PROFILER_LABEL].cpu_time_total,
        "optimizer": events[OPTIMIZER].cpu_time_total,
    }
    return {name: time / total for name, time in spent.items()} | {"the rest": 1 - sum(spent.values()) / total}


def no_bar() -> "tqdm[Any]":
    """A progress bar that nobody sees."""
    return tqdm(disable=True)


@dataclass(frozen=True)
class Found:
    """All that was measured."""

    recipe: str
    """Its name."""
    config: Mapping[str, Any]
    """All settings that the last run had."""
    preparation: Preparation
    """Of its data set."""
    epochs: Epochs
    """What its epochs are like."""
    runs: tuple[CompleteRun, ...]
    """One for each seed."""
    target: float
    """The test accuracy that they should reach, 0 to 1."""

    @property
    def reached(self) -> int:
        """How many runs ended at the target or above."""
        return sum(run.test_accuracy >= self.target for run in self.runs)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return asdict(self) | {
            "reached": self.reached,
            "epochs_per_second": 1 / self.epochs.seconds.median,
            "images_per_second": self.epochs.images / self.epochs.seconds.median,
            "machine": machine(),
        }

    def to_text(self) -> str:
        """For people."""
        seconds, images = self.epochs.seconds, self.epochs.images
        shares = ", ".join(f"{name} {share:.0%}" for name, share in self.epochs.shares.items())
        return "\n".join(
            (
                ", ".join(f"{name} {value}" for name, value in machine().items()),
                f"preparing: {self.preparation.cold:.1f} s, from the cache {self.preparation.cached:.1f} s",
                f"{self.recipe}: {1 / seconds.median:.2f} epochs/s, {images / seconds.median:,.0f} images/s; "
                f"an epoch {seconds.text(2)} s, a checkpoint {1000 * self.epochs.checkpoint_seconds:.0f} ms",
                f"an epoch's time: {shares}",
                *(run_line(run) for run in self.runs),
                f"training {Figure.of([run.training_seconds for run in self.runs]).text(1)} s, the whole command "
                f"{Figure.of([run.command_seconds for run in self.runs]).text(1)} s; "
                f"{self.reached} of {len(self.runs)} ended at {self.target:.1%} or above",
            )
        )


def run_line(run: CompleteRun) -> str:
    """One complete run, for people."""
    return (
        f"seed {run.seed}: test accuracy {run.test_accuracy:.2%} (validation {run.validation_accuracy:.2%}), "
        f"training {run.training_seconds:.1f} s, command {run.command_seconds:.1f} s"
    )


def machine() -> dict[str, Any]:
    """What it was measured on."""
    return {"Python": platform.python_version(), "PyTorch": torch.__version__, "CPUs": len(os.sched_getaffinity(0))}


if __name__ == "__main__":
    main()
