"""Speed of `vitrine-train fit` on a CPU: preparation, epochs and their parts, and time to a test accuracy.

    python -m benchmarks.training_speed [--recipe quick] [--runs 3] [--json] [-- --epochs 20 …]

It runs the command as a user would, in its own process, once for each seed, and reads the run's metrics. Arguments
behind `--` go to the command. Then it continues the last run's training, times some epochs, and profiles one. It prints
times in seconds, and the share of an epoch that each part takes.

No run stops at the test accuracy: settings are chosen by the validation part, and the test part is measured once, at
the end. The time to 99 % is therefore that of complete short runs that end above it; the output tells which did.

Set VITRINE_DATA_DIR, or the first preparation includes MNIST's download.
"""

import json
import os
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
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

from benchmarks.harness.machine import machine, machine_line
from benchmarks.harness.rounds import with_progress
from benchmarks.harness.summary import Summary
from vitrine.training import RECIPES, Checkpoint, Dataset, RunFolder, load_dataset
from vitrine.training.examples.batches import PROFILER_LABEL
from vitrine.training.run.fit import trainer_for
from vitrine.training.run.recipes import DATA_SETS
from vitrine.training.run.trainer import Trainer

PROGRAM = "from vitrine.training.cli import main; main()"

MATRIX_PRODUCTS = ("aten::mm", "aten::addmm")
"""Operators of linear layers, forward and backward. Bending images uses products of other names."""

OPTIMIZER = "Optimizer.step#AdamW.step"
"""PyTorch's name for a step of the optimizer in a profile."""


@dataclass(frozen=True)
class Preparation:
    """Seconds to load the data set."""

    cold: float
    """First time: every image is prepared."""
    cached: float
    """Later times, from the cache."""


@dataclass(frozen=True)
class CompleteRun:
    """One run of the command."""

    seed: int
    training_seconds: float
    """All epochs, including validation."""
    command_seconds: float
    """The whole command: start of Python, data from the cache, training, evaluation, export, figures."""
    validation_accuracy: float
    """0 to 1; settings may be chosen by it."""
    test_accuracy: float
    """0 to 1, at the end."""


@dataclass(frozen=True)
class Epochs:
    """Speed of a recipe's epochs."""

    seconds: Summary
    """An epoch with its validation, after one to warm up."""
    images: int
    """Training images in an epoch."""
    checkpoint_seconds: float
    """Seconds to write a checkpoint, as after each epoch."""
    shares: dict[str, float]
    """Share of an epoch's time by part, 0 to 1, by a profiler, which costs a little itself."""


@click.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--recipe", type=click.Choice(list(RECIPES)), default="quick", show_default=True, help="Recipe to measure."
)
@click.option("--runs", default=3, show_default=True, help="Complete runs, with seeds 0, 1, 2, …")
@click.option("--epochs-timed", default=5, show_default=True, help="Epochs to time.")
@click.option("--target", default=0.99, show_default=True, help="Test accuracy that a run should reach, 0 to 1.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@click.argument("settings", nargs=-1, type=click.UNPROCESSED)
def main(recipe: str, runs: int, epochs_timed: int, target: float, as_json: bool, settings: tuple[str, ...]) -> None:
    """Measure a recipe, with further SETTINGS of vitrine-train fit, and print its speed."""
    preparation = measure_preparation(DATA_SETS[recipe])
    dataset = load_dataset(DATA_SETS[recipe], progress=False)  # into the runs' cache
    with tempfile.TemporaryDirectory() as folder:
        command = ("--recipe", recipe, *settings)
        seeds = with_progress(range(runs), "fitting", length=runs)
        complete = [run_command(Path(folder, str(seed)), seed, command) for seed in seeds]
        run = RunFolder(Path(folder, str(runs - 1)))
        epochs = measure_epochs(run, dataset, epochs_timed)
        config = Checkpoint.load(run.checkpoint).config.to_dict()
    found = Found(recipe, config, preparation, epochs, tuple(complete), target)
    click.echo(json.dumps(found.to_dict()) if as_json else found.to_text())


def measure_preparation(source: str) -> Preparation:
    """Loads a data set twice, with a cache that is empty at first."""
    with tempfile.TemporaryDirectory() as cache, cached_in(cache):
        return Preparation(seconds_of(load_dataset, source), seconds_of(load_dataset, source))


@contextmanager
def cached_in(folder: str) -> Iterator[None]:
    """Uses `folder` as the cache during the block."""
    before = os.environ.get("VITRINE_CACHE_DIR")
    os.environ["VITRINE_CACHE_DIR"] = folder
    try:
        yield
    finally:
        del os.environ["VITRINE_CACHE_DIR"]
        if before is not None:
            os.environ["VITRINE_CACHE_DIR"] = before


def seconds_of(load: Any, source: str) -> float:
    """Seconds to load a data set."""
    begun = time.perf_counter()
    load(source, progress=False)
    return time.perf_counter() - begun


def run_command(folder: Path, seed: int, settings: tuple[str, ...]) -> CompleteRun:
    """Fits in its own process, and reads the run's metrics."""
    words = ("fit", "--run", str(folder), "--seed", str(seed), "--device", "cpu", "--quiet", *settings)
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", PROGRAM, *words], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begun
    metrics = json.loads(RunFolder(folder).metrics.read_bytes())
    validation = 1 - Checkpoint.load(RunFolder(folder).checkpoint).kept.validation_error
    return CompleteRun(seed, metrics["seconds"], seconds, validation, metrics["test"]["accuracy"])


def measure_epochs(run: RunFolder, dataset: Dataset, count: int) -> Epochs:
    """Continues a run's training in memory: times some epochs, and profiles one.

    Bent versions of the images, if a teacher has several, become one here, which the first epoch makes; later epochs
    only read it, as most epochs of a run do.
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
    return Epochs(Summary.of(seconds), trainer.examples, writing, profiled_shares(trainer, checkpoint))


def profiled_shares(trainer: Trainer, checkpoint: Checkpoint) -> dict[str, float]:
    """Share of one more epoch's time by part, 0 to 1; their sum is 1."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        begun = time.perf_counter()
        trainer.run_epoch(checkpoint, no_bar())
        total = 1e6 * (time.perf_counter() - begun)
    events = {event.key: event for event in profiler.key_averages()}
    spent = {
        "matrix products": sum(events[name].self_cpu_time_total for name in MATRIX_PRODUCTS),
        "batches": events[PROFILER_LABEL].cpu_time_total,
        "optimizer": events[OPTIMIZER].cpu_time_total,
    }
    return {name: time / total for name, time in spent.items()} | {"the rest": 1 - sum(spent.values()) / total}


def no_bar() -> "tqdm[Any]":
    """A disabled progress bar."""
    return tqdm(disable=True)


@dataclass(frozen=True)
class Found:
    """Everything that was measured."""

    recipe: str
    config: Mapping[str, Any]
    """All settings of the last run."""
    preparation: Preparation
    epochs: Epochs
    runs: tuple[CompleteRun, ...]
    """One for each seed."""
    target: float
    """Test accuracy that runs should reach, 0 to 1."""

    @property
    def reached(self) -> int:
        """Number of runs that ended at the target or above."""
        return sum(run.test_accuracy >= self.target for run in self.runs)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self) | {
            "reached": self.reached,
            "epochs_per_second": 1 / self.epochs.seconds.median,
            "images_per_second": self.epochs.images / self.epochs.seconds.median,
            "machine": machine("torch"),
        }

    def to_text(self) -> str:
        """Text, a line for each subject."""
        seconds, images = self.epochs.seconds, self.epochs.images
        shares = ", ".join(f"{name} {share:.0%}" for name, share in self.epochs.shares.items())
        return "\n".join(
            (
                machine_line("torch"),
                f"preparation: {self.preparation.cold:.1f} s, from the cache {self.preparation.cached:.1f} s",
                f"{self.recipe}: {1 / seconds.median:.2f} epochs/s, {images / seconds.median:,.0f} images/s; "
                f"an epoch {seconds.text(2)} s, a checkpoint {1000 * self.epochs.checkpoint_seconds:.0f} ms",
                f"an epoch's time: {shares}",
                *(run_line(run) for run in self.runs),
                f"training {Summary.of([run.training_seconds for run in self.runs]).text(1)} s, the whole command "
                f"{Summary.of([run.command_seconds for run in self.runs]).text(1)} s; "
                f"{self.reached} of {len(self.runs)} ended at {self.target:.1%} or above",
            )
        )


def run_line(run: CompleteRun) -> str:
    """One complete run as a line of text."""
    return (
        f"seed {run.seed}: test accuracy {run.test_accuracy:.2%} (validation {run.validation_accuracy:.2%}), "
        f"training {run.training_seconds:.1f} s, command {run.command_seconds:.1f} s"
    )


if __name__ == "__main__":
    main()
