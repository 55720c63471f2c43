"""The command `vitrine-train`: fit, evaluate, stress, export, upgrade. It turns flags into settings, results into text.

It knows no training: each command is a few lines around what `vitrine.training` offers.
"""

import json
import os
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np
import numpy.typing as npt

from vitrine.model import PIXELS_SHAPE, OutputKind, Shape, VitrineError
from vitrine.model.distribution import DISTRIBUTION
from vitrine.model.labels import shorten
from vitrine.model.output import safe_output
from vitrine.model.variables import find_mistyped
from vitrine.training.data import BUILT_IN, DRAWINGS, Dataset, Examples, Split, load_dataset, load_mnist_images
from vitrine.training.errors import CheckpointError, ConfigError, DataError
from vitrine.training.files.run_folder import ReportFolder, RunFolder
from vitrine.training.network.upgrade import upgrade
from vitrine.training.rendering.stress import EVERY_CONDITION, draw_sheet, measure_stress
from vitrine.training.report import (
    FormsPlan,
    NoveltyPlan,
    StressPlan,
    Subject,
    make_report,
    stress_table,
    to_text,
    write_report,
)
from vitrine.training.report.runs import RunSummary, comparison_table, find_runs, list_table
from vitrine.training.run.checkpoint import Checkpoint
from vitrine.training.run.completion import Run, export_run
from vitrine.training.run.config import DeviceChoice, find_device
from vitrine.training.run.fit import fit
from vitrine.training.run.recipes import DATA_SETS, RECIPES, for_classes, recipe

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells define it (128 + SIGINT)."""

MOST_SHOWN = 20
"""Classes that are named before a fit."""

LONGEST_SHOWN = 40
"""Characters that an error shows of a value."""


class _Group(click.Group):
    """A command group that prints errors as one sentence, without a traceback, and exits with 130 after Ctrl-C."""

    def main(self, *arguments: Any, **settings: Any) -> Any:
        with safe_output():
            for warning in find_mistyped(os.environ):
                click.echo(f"Warning: {warning}", err=True)
            return super().main(*arguments, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        except VitrineError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            raise click.ClickException(f"{error.filename or 'the system says'}: {error.strerror}") from error


def _read_widths(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        return tuple(int(width) for width in value.split(","))
    except ValueError as error:
        raise click.BadParameter(
            f"{shorten(value, LONGEST_SHOWN)} is not a list of whole numbers such as 512,256"
        ) from error


def _read_size(_context: click.Context, _option: click.Parameter, value: str | None) -> Shape | None:
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}x[0-9]{1,9}", value):  # Python converts no number of thousands of digits
        raise click.BadParameter(
            f"{shorten(value, LONGEST_SHOWN)} is not HEIGHTxWIDTH in pixels, such as 18x18 or 12x20"
        )
    return tuple(int(side) for side in value.split("x"))


_data_dir = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder with MNIST's four files, itself or in a subfolder such as mnist or MNIST/raw. Without it and without "
    "VITRINE_DATA_DIR in the environment, MNIST is downloaded.",
)
_pen_data = click.option(
    "--pen-data",
    type=click.Path(path_type=Path),
    help="UNIPEN's train_r01_v07, as a folder or an archive; or a folder that holds it. It is never downloaded.  "
    "[--data-dir or VITRINE_DATA_DIR]",
)
_run = click.argument("run", type=click.Path(file_okay=False, path_type=Path))


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name=DISTRIBUTION)
def main() -> None:
    """Train an image classifier whose layers you can inspect, and export it for vitrine-server."""


@main.command("fit")
@click.option(
    "--recipe",
    "recipe_name",
    type=click.Choice(list(RECIPES)),
    help="Tested settings. quick trains in seconds; reference makes the model that comes with the server from all "
    "handwriting; mnist does the same from MNIST alone.  "
    "[the data set's recipe]",
)
@click.option(
    "--dataset",
    "source",
    metavar="|".join((*BUILT_IN, "FOLDER")),
    help="What to fit to; handwriting is mnist and unipen. A folder has LABEL/name.png, with any labels.  [the "
    "recipe's, or digits]",
)
@click.option(
    "--size",
    "shape",
    callback=_read_size,
    metavar="HEIGHTxWIDTH",
    help="Size of the network's input in pixels: each side 4 to 128, one at most 8 times the other.  [18x18]",
)
@_data_dir
@_pen_data
@click.option(
    "--run",
    "run_folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the results of this run.  [runs/RECIPE or runs/DATASET]",
)
@click.option("--name", help="Name of the model on the server.  [the data set's name]")
@click.option("--hidden", callback=_read_widths, metavar="512,256", help="Width of each hidden layer.  [the recipe's]")
@click.option("--output", type=click.Choice(get_args(OutputKind)), help="Function of the output layer.  [the recipe's]")
@click.option("--epochs", type=int, help="Passes over the training images.  [the recipe's]")
@click.option("--batch-size", type=int, help="Images per training step.  [the recipe's]")
@click.option("--learning-rate", type=float, help="Peak learning rate of AdamW.  [the recipe's]")
@click.option("--weight-decay", type=float, help="Weight decay of AdamW.  [the recipe's]")
@click.option("--seed", type=int, help="Seed of all random numbers.  [the recipe's]")
@click.option(
    "--device",
    type=click.Choice(get_args(DeviceChoice)),
    help="Device to train on. auto uses CUDA if available.  [auto]",
)
@click.option("--threads", type=int, help="CPU threads for training.  [the recipe's]")
@click.option(
    "--validation",
    type=float,
    help="Share of the training images held out to select the epoch and to calibrate.  [0.1]",
)
@click.option(
    "--patience", type=int, help="Stop after this many epochs without fewer validation errors.  [never stop early]"
)
@click.option("--augment", type=float, help="Strength of the augmentation, 0 (off) to 3.  [the recipe's]")
@click.option("--no-augment", "augment", flag_value=0.0, help="Same as --augment 0.")
@click.option(
    "--drawings",
    type=int,
    help=f"Drawings to learn from of each UNIPEN digit, each with another pen, 1 to {DRAWINGS}.  [the recipe's]",
)
@click.option("--forms", type=int, help="Written forms of digits to add, such as a 1 with an upstroke.  [the recipe's]")
@click.option(
    "--counter-examples",
    type=int,
    help="Generated images without a digit to add to the training data.  [the recipe's for ten digits, else 0]",
)
@click.option(
    "--teacher-epochs", type=int, help="Training epochs of the teacher; 0 trains on labels only.  [the recipe's]"
)
@click.option(
    "--versions", type=int, help="Augmented copies of the training images with cached teacher logits.  [the recipe's]"
)
@click.option(
    "--teacher",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The teacher.pt of another run, to skip its training. That run must have the same data and settings, and the "
    "same seed unless the data set names its writers.  [teacher.pt in the run folder]",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue the run in the run folder with the settings it was started with; with --epochs, up to more of them.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing run in the run folder.")
@click.option("--quiet", is_flag=True, help="Hide the progress bars.")
def fit_command(
    recipe_name: str | None,
    source: str | None,
    shape: Shape | None,
    data_dir: Path | None,
    pen_data: Path | None,
    run_folder: Path | None,
    name: str | None,
    resume: bool,
    overwrite: bool,
    teacher: Path | None,
    quiet: bool,
    **settings: Any,
) -> None:
    """Fit a model, evaluate it on held-out images, and export it.

    Settings that are not given come from the recipe. Ctrl-C keeps the finished epochs; --resume continues.
    """
    folder = RunFolder(run_folder or Path("runs", recipe_name or Path(source or "digits").resolve().name))
    if resume:
        checkpoint = Checkpoint.load(folder.checkpoint)
        source, base = _source(checkpoint, source), checkpoint.config
        shape = shape or checkpoint.identity.shape
    else:
        _refuse_to_replace(folder, overwrite)
        source = source or DATA_SETS.get(recipe_name or "", "digits")
        base = RECIPES[recipe_name] if recipe_name else recipe(source)
    given = {field: value for field, value in settings.items() if value is not None}
    config = replace(base, **given)
    find_device(config.device)  # fail before a data set is downloaded
    dataset = load_dataset(source, data_dir, pen_data, shape=shape or PIXELS_SHAPE, progress=not quiet)
    if not (quiet or resume) and dataset.source not in BUILT_IN:
        click.echo(_describe(dataset), err=True)
    if not resume and not {"forms", "counter_examples"} <= given.keys():
        config = replace(for_classes(base, dataset.classes), **given)
    _print_run(fit(dataset, config, folder.path, name=name, resume=resume, teacher=teacher, progress=not quiet))


def _describe(dataset: Dataset) -> str:
    shown = [*dataset.classes[:MOST_SHOWN], *(["…"] if len(dataset.classes) > MOST_SHOWN else [])]
    return (
        f"{dataset.name} has {len(dataset.classes):,} classes ({', '.join(shown)}), "
        f"{len(dataset.train):,} images to train on and {len(dataset.test):,} to test with"
    )


def _refuse_to_replace(folder: RunFolder, overwrite: bool) -> None:
    if folder.checkpoint.exists() and not overwrite:
        raise ConfigError(
            f"{folder.path} already holds a run: continue it with --resume, replace it with --overwrite, or choose "
            "another folder with --run"
        )


def _source(checkpoint: Checkpoint, source: str | None) -> str:
    if found := source or checkpoint.identity.source:
        return found
    raise DataError(
        f"the run's data set {checkpoint.identity.dataset} was built by a program: choose a data set with --dataset"
    )


def _print_run(run: Run) -> None:
    evaluation, checkpoint = run.evaluation, run.checkpoint
    click.echo(
        f"test error {evaluation.error:.2%} ({evaluation.errors:,} of {evaluation.count:,}), "
        f"kept after epoch {checkpoint.kept.number} of {len(checkpoint.history)}: {run.folder.model}"
    )
    if not run.finished:
        done, all_epochs = len(checkpoint.history), checkpoint.config.epochs
        click.echo(
            f"stopped after epoch {done} of {all_epochs}; continue with --run {run.folder.path} --resume", err=True
        )
        raise click.exceptions.Exit(INTERRUPTED)


@main.command("evaluate")
@click.argument("run", type=click.Path(file_okay=False, path_type=Path), required=False)
@click.option(
    "--model",
    "artifact",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Evaluate this artifact instead of a run, such as server/vitrine/server/bundled/digits.onnx.",
)
@click.option(
    "--dataset",
    "source",
    metavar="|".join((*BUILT_IN, "FOLDER")),
    help="Data set to evaluate on.  [the run's data set]",
)
@_data_dir
@_pen_data
@click.option(
    "--novelty", is_flag=True, help="Generate images that show no digit, and measure whether the model detects them."
)
@click.option(
    "--stress", is_flag=True, help="Render MNIST's test digits as photos, scans and drawings, and measure the accuracy."
)
@click.option(
    "--forms", is_flag=True, help="Draw forms of digits that data have few of, and measure the accuracy of each."
)
@click.option("--full", is_flag=True, help="Same as --novelty --stress --forms.")
@click.option(
    "--count",
    default=300,
    show_default=True,
    help="Images per set (--novelty), condition (--stress) or form (--forms).",
    type=click.IntRange(1),
)
@click.option("--seed", default=0, show_default=True, help="Seed of all random numbers.", type=click.IntRange(0))
@click.option(
    "--fonts",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with fonts for letters and printed digits, such as /usr/share/fonts.  [DejaVu]",
)
@click.option("--look-alikes", is_flag=True, help="Include letters that look like digits, such as O, l and S.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the report.  [RUN/evaluation, or MODEL-evaluation here]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", is_flag=True, help="Hide the progress bars.")
def evaluate_command(
    run: Path | None,
    artifact: Path | None,
    source: str | None,
    data_dir: Path | None,
    pen_data: Path | None,
    novelty: bool,
    stress: bool,
    forms: bool,
    full: bool,
    count: int,
    seed: int,
    fonts: Path | None,
    look_alikes: bool,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Evaluate the model of RUN, or of --model, on images that it was not trained on.

    These are the held-out images of its data set or of a built-in one, or all images of another folder. The
    report contains the error, by source where there are several, the calibration and the worst mistakes: as JSON,
    pictures and a Markdown page.
    """
    if (run is None) == (artifact is None):
        raise click.UsageError("name either a RUN or an artifact with --model")
    load = partial(load_dataset, data_dir=data_dir, pen_data=pen_data, progress=not quiet)
    if artifact is not None:
        subject: Checkpoint | Subject = (about := Subject.of_artifact(artifact))
        dataset = load(source or _built_in(about), shape=about.mlp.shape).with_classes(about.classes)
        examples = dataset.test if dataset.source in BUILT_IN else dataset.train + dataset.test
        files = ReportFolder(out or Path(f"{artifact.stem}-evaluation"))
    else:
        folder = RunFolder(run or Path())
        subject = checkpoint = Checkpoint.load(folder.checkpoint)
        identity, named = checkpoint.identity, _source(checkpoint, source)
        dataset = load(named, shape=identity.shape).with_classes(identity.classes)
        examples = _unseen_examples(checkpoint, dataset)
        files = ReportFolder(out) if out else folder.evaluation
    report = make_report(
        subject,
        examples,
        dataset.name,
        novelty=NoveltyPlan(count, seed, fonts, look_alikes) if novelty or full else None,
        stress=StressPlan(*_mnist("test", data_dir, quiet), count, seed) if stress or full else None,
        forms=FormsPlan(count, seed) if forms or full else None,
        progress=not quiet,
    )
    write_report(report, files)
    click.echo(json.dumps(report.to_dict(), allow_nan=False) if as_json else f"{to_text(report)}\n\n{files.page}")


def _built_in(about: Subject) -> str:
    """The built-in data set that an artifact says it was trained on."""
    if about.dataset in BUILT_IN:
        return about.dataset
    raise DataError(f"{about.name} was trained on {about.dataset}: name the data to evaluate on with --dataset")


def _mnist(split: Split, data_dir: Path | None, quiet: bool) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """MNIST's raw images and labels, from `data_dir` or VITRINE_DATA_DIR if given."""
    folder = data_dir or (Path(found) if (found := os.environ.get("VITRINE_DATA_DIR")) else None)
    return load_mnist_images(split, folder, progress=not quiet)


def _unseen_examples(checkpoint: Checkpoint, dataset: Dataset) -> Examples:
    """The examples of a data set that the run was not trained on."""
    identity = checkpoint.identity
    if dataset.digest() == identity.digest or dataset.source in BUILT_IN:  # built-in held-out parts never change
        return dataset.test
    if dataset.source == identity.source:
        raise CheckpointError(
            f"{dataset.source} has changed since the run was trained on it, so its unseen images are unknown: "
            "restore it, fit again, or choose a folder of other images with --dataset"
        )
    return dataset.train + dataset.test


@main.command("list")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path("runs"))
def list_command(folder: Path) -> None:
    """List the finished runs in FOLDER, runs by default, with their results."""
    click.echo(list_table(find_runs(folder)).to_text())


@main.command("compare")
@click.argument("runs", type=click.Path(file_okay=False, path_type=Path), nargs=-1, required=True)
def compare_command(runs: tuple[Path, ...]) -> None:
    """Compare RUNS: the settings that differ, and the results, side by side."""
    click.echo(comparison_table([RunSummary.read(run) for run in runs]).to_text())


@main.command("stress")
@click.argument("model", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--dataset", type=click.Choice(["mnist"]), default="mnist", show_default=True, help="Source of the digits."
)
@click.option(
    "--split",
    type=click.Choice(get_args(Split)),
    default="validation",
    show_default=True,
    help="Digits to render. validation: training images by the writers that a fit holds out by default; needs "
    "writers.npz beside MNIST's files. test: MNIST's test images.",
)
@_data_dir
@click.option(
    "--condition",
    "names",
    metavar="NAME",
    multiple=True,
    type=click.Choice(EVERY_CONDITION),
    help=f"Render only this condition; may be repeated.  [{', '.join(EVERY_CONDITION)}]",
)
@click.option("--count", default=300, show_default=True, help="Digits per condition.", type=click.IntRange(1))
@click.option("--seed", default=0, show_default=True, help="Seed of all random numbers.", type=click.IntRange(0))
@click.option(
    "--sheet", type=click.Path(dir_okay=False, path_type=Path), help="Also write a PNG with examples of each condition."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", is_flag=True, help="Hide the progress bars.")
def stress_command(
    model: Path,
    dataset: str,
    split: Split,
    data_dir: Path | None,
    names: tuple[str, ...],
    count: int,
    seed: int,
    sheet: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Render digits as photos, scans and drawings, and measure how many MODEL recognises.

    MODEL is an ONNX artifact. Every condition renders the same digits with its own light, pen, paper, size or noise,
    or writes a form of a digit, such as a 1 with an upstroke.
    """
    images, labels = _mnist(split, data_dir, quiet)
    results = measure_stress(model, images, labels, names or EVERY_CONDITION, count, seed, progress=not quiet)
    if sheet:
        draw_sheet(images, names or EVERY_CONDITION, seed, sheet)
    figures = {"dataset": dataset, "split": split, "seed": seed, "conditions": [each.to_dict() for each in results]}
    click.echo(json.dumps(figures) if as_json else stress_table(results).to_text())


@main.command("export")
@_run
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write.  [RUN/model.onnx]")
def export_command(run: Path, out: Path | None) -> None:
    """Export the model of RUN as an ONNX artifact, and compare every layer with PyTorch."""
    click.echo(export_run(run, out))


@main.command("upgrade")
@click.argument("old", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("new", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace NEW if it exists.")
def upgrade_command(old: Path, new: Path, overwrite: bool) -> None:
    """Rewrite the artifact OLD as NEW in the newest format. Parameters and activations do not change."""
    upgrade(old, new, overwrite=overwrite)
    click.echo(new)
