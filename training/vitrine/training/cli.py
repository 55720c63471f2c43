"""The command `vitrine-train`: fit, evaluate, stress, export, upgrade. It turns flags into settings, results into text.

It knows no training: each command is a few lines around what `vitrine.training` offers.
"""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np
import numpy.typing as npt

from vitrine.model import PIXELS_SHAPE, OutputKind, Shape, VitrineError
from vitrine.training.data import BUILT_IN, Dataset, Examples, Split, load_dataset, load_mnist_images
from vitrine.training.errors import CheckpointError, ConfigError, DataError
from vitrine.training.files.run_folder import ReportFolder, RunFolder
from vitrine.training.network.upgrade import upgrade
from vitrine.training.rendering.stress import CONDITIONS, draw_sheet, measure_stress
from vitrine.training.report import NoveltyPlan, StressPlan, make_report, stress_table, to_text, write_report
from vitrine.training.run.checkpoint import Checkpoint
from vitrine.training.run.completion import Run, export_run
from vitrine.training.run.config import DeviceChoice, find_device
from vitrine.training.run.fit import fit
from vitrine.training.run.recipes import DATA_SETS, RECIPES, for_classes, recipe

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""


class _Group(click.Group):
    """Commands whose errors are one sentence, and no traceback; Ctrl-C has the exit status that shells know."""

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
    try:
        return None if value is None else tuple(int(width) for width in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value} isn't a list of whole numbers such as 512,256") from error


def _read_size(_context: click.Context, _option: click.Parameter, value: str | None) -> Shape | None:
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]+x[0-9]+", value):
        raise click.BadParameter(f"{value} isn't HEIGHTxWIDTH in pixels, such as 18x18 or 12x20")
    return tuple(int(side) for side in value.split("x"))


_data_dir = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where MNIST's four files are, itself or in its folder mnist; without it, and without VITRINE_DATA_DIR in the "
    "environment, they are downloaded.",
)
_run = click.argument("run", type=click.Path(file_okay=False, path_type=Path))


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="vitrine")
def main() -> None:
    """Train a digit classifier that can be seen into, and export it for vitrine-server."""


@main.command("fit")
@click.option(
    "--recipe",
    "recipe_name",
    type=click.Choice(list(RECIPES)),
    help="Settings that have been tried: quick takes seconds, reference makes the model that comes with the server.  "
    "[the data set's]",
)
@click.option(
    "--dataset",
    "source",
    metavar="digits|mnist|FOLDER",
    help="What to fit to. A folder has LABEL/name.png, with any labels.  [the recipe's, or digits]",
)
@click.option(
    "--size",
    "shape",
    callback=_read_size,
    metavar="HEIGHTxWIDTH",
    help="Pixels that every image becomes, 4 to 128 each way.  [18x18]",
)
@_data_dir
@click.option(
    "--run",
    "run_folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="The run folder.  [runs/RECIPE or runs/DATASET]",
)
@click.option("--name", help="What the model is called when it is served.  [the data set's name]")
@click.option(
    "--hidden", callback=_read_widths, metavar="512,256", help="The width of each hidden layer.  [the recipe's]"
)
@click.option("--output", type=click.Choice(get_args(OutputKind)), help="The output layer.  [the recipe's]")
@click.option("--epochs", type=int, help="Passes over the training images.  [the recipe's]")
@click.option("--batch-size", type=int, help="Images for each step.  [the recipe's]")
@click.option("--learning-rate", type=float, help="AdamW's learning rate at its peak.  [the recipe's]")
@click.option("--weight-decay", type=float, help="AdamW's weight decay.  [the recipe's]")
@click.option("--seed", type=int, help="Where all random numbers come from.  [the recipe's]")
@click.option("--device", type=click.Choice(get_args(DeviceChoice)), help="Where to train.  [auto]")
@click.option("--threads", type=int, help="CPU threads to train with.  [the recipe's]")
@click.option(
    "--validation", type=float, help="The share of training images that choose the epoch and calibrate.  [0.1]"
)
@click.option("--patience", type=int, help="Stop after so many epochs without a better one.  [go to the end]")
@click.option("--augment", type=float, help="How far training images are bent; 0 switches it off.  [the recipe's]")
@click.option("--no-augment", "augment", flag_value=0.0, help="The same as --augment 0.")
@click.option(
    "--counter-examples",
    type=int,
    help="Made images without a digit to learn from.  [the recipe's for digits, 0 for other classes]",
)
@click.option("--teacher-epochs", type=int, help="Epochs of a teacher; 0: labels alone teach.  [the recipe's]")
@click.option("--versions", type=int, help="Bent versions of all images that a teacher judges.  [the recipe's]")
@click.option(
    "--teacher",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A run's teacher.pt, to be spared its making: same data, same settings, and same seed where writers aren't "
    "known.  [the run folder's]",
)
@click.option(
    "--resume", is_flag=True, help="Go on with the run in the run folder, with the settings it was begun with."
)
@click.option("--overwrite", is_flag=True, help="Replace the run in the run folder.")
@click.option("--quiet", is_flag=True, help="Show no progress bars.")
def fit_command(
    recipe_name: str | None,
    source: str | None,
    shape: Shape | None,
    data_dir: Path | None,
    run_folder: Path | None,
    name: str | None,
    resume: bool,
    overwrite: bool,
    teacher: Path | None,
    quiet: bool,
    **settings: Any,
) -> None:
    """Fit a model, evaluate it on held-out images, and export it.

    Settings that aren't given come from the recipe. Ctrl-C keeps what was reached; --resume goes on.
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
    config = replace(base, **{field: value for field, value in settings.items() if value is not None})
    find_device(config.device)  # before a data set is downloaded in vain
    dataset = load_dataset(source, data_dir, shape=shape or PIXELS_SHAPE, progress=not quiet)
    if not resume and settings["counter_examples"] is None:
        config = for_classes(config, dataset.classes)
    _tell(fit(dataset, config, folder.path, name=name, resume=resume, teacher=teacher, progress=not quiet))


def _refuse_to_replace(folder: RunFolder, overwrite: bool) -> None:
    if folder.checkpoint.exists() and not overwrite:
        raise ConfigError(
            f"{folder.path} holds a run: go on with it by --resume, replace it by --overwrite, or name another --run"
        )


def _source(checkpoint: Checkpoint, source: str | None) -> str:
    if found := source or checkpoint.identity.source:
        return found
    raise DataError(f"the run's data set {checkpoint.identity.dataset} was made by a program: name one with --dataset")


def _tell(run: Run) -> None:
    evaluation, checkpoint = run.evaluation, run.checkpoint
    click.echo(
        f"test error {evaluation.error:.2%} ({evaluation.errors:,} of {evaluation.count:,}), "
        f"kept after epoch {checkpoint.kept.number} of {len(checkpoint.history)}: {run.folder.model}"
    )
    if not run.finished:
        done, all_epochs = len(checkpoint.history), checkpoint.config.epochs
        click.echo(f"stopped after epoch {done} of {all_epochs}; go on with --run {run.folder.path} --resume", err=True)
        raise click.exceptions.Exit(INTERRUPTED)


@main.command("evaluate")
@_run
@click.option(
    "--dataset", "source", metavar="digits|mnist|FOLDER", help="Other images than those of the run's data set."
)
@_data_dir
@click.option("--novelty", is_flag=True, help="Make images that show no digit, and measure what it makes of them.")
@click.option("--stress", is_flag=True, help="Render MNIST's test digits as people send them, and count.")
@click.option("--full", is_flag=True, help="All of it: --novelty and --stress.")
@click.option(
    "--count", default=300, show_default=True, help="Images of each set, or condition.", type=click.IntRange(1)
)
@click.option(
    "--seed", default=0, show_default=True, help="Where all random numbers come from.", type=click.IntRange(0)
)
@click.option(
    "--fonts",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder, such as /usr/share/fonts, whose fonts letters and printed digits are made of, in place of DejaVu.",
)
@click.option("--look-alikes", is_flag=True, help="Letters with a digit's shape, O and l and S, are made, too.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Where to.  [evaluation in the folder RUN]"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option("--quiet", is_flag=True, help="Show no progress bars.")
def evaluate_command(
    run: Path,
    source: str | None,
    data_dir: Path | None,
    novelty: bool,
    stress: bool,
    full: bool,
    count: int,
    seed: int,
    fonts: Path | None,
    look_alikes: bool,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Report how good RUN's weights are, on images that RUN wasn't trained on.

    They are the held-out ones of the run's data set, or of digits or mnist, or all of another folder. The report has
    error, calibration and the most wrong images, as numbers, pictures and a page of Markdown.
    """
    folder = RunFolder(run)
    checkpoint = Checkpoint.load(folder.checkpoint)
    identity, named = checkpoint.identity, _source(checkpoint, source)
    dataset = load_dataset(named, data_dir, shape=identity.shape, progress=not quiet).with_classes(identity.classes)
    report = make_report(
        checkpoint,
        _unseen(checkpoint, dataset),
        dataset.name,
        novelty=NoveltyPlan(count, seed, fonts, look_alikes) if novelty or full else None,
        stress=StressPlan(*_mnist("test", data_dir, quiet), count, seed) if stress or full else None,
        progress=not quiet,
    )
    files = ReportFolder(out) if out else folder.evaluation
    write_report(report, files)
    click.echo(json.dumps(report.to_dict(), allow_nan=False) if as_json else f"{to_text(report)}\n\n{files.page}")


def _mnist(split: Split, data_dir: Path | None, quiet: bool) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """MNIST's images as they are, from where the flag or the environment says."""
    folder = data_dir or (Path(found) if (found := os.environ.get("VITRINE_DATA_DIR")) else None)
    return load_mnist_images(split, folder, progress=not quiet)


def _unseen(checkpoint: Checkpoint, dataset: Dataset) -> Examples:
    """The examples of a data set that the run wasn't trained on."""
    identity = checkpoint.identity
    if dataset.digest() == identity.digest or dataset.source in BUILT_IN:  # whose held-out part never changes
        return dataset.test
    if dataset.source == identity.source:
        raise CheckpointError(
            f"{dataset.source} has changed since the run was trained on it, so nothing tells which images are new to "
            "it: put it back as it was, fit again, or name a folder of other images with --dataset"
        )
    return dataset.train + dataset.test


@main.command("stress")
@click.argument("model", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--dataset", type=click.Choice(["mnist"]), default="mnist", show_default=True, help="Whose digits are rendered."
)
@click.option(
    "--split",
    type=click.Choice(get_args(Split)),
    default="validation",
    show_default=True,
    help="validation: the training images of the writers that a fit holds out by default, told by writers.npz beside "
    "MNIST's files. test: MNIST's own.",
)
@_data_dir
@click.option("--condition", "names", multiple=True, type=click.Choice(list(CONDITIONS)), help="Only this one; repeat.")
@click.option("--count", default=300, show_default=True, help="Digits for each condition.", type=click.IntRange(1))
@click.option(
    "--seed", default=0, show_default=True, help="Where all random numbers come from.", type=click.IntRange(0)
)
@click.option("--sheet", type=click.Path(dir_okay=False, path_type=Path), help="Draw some of the images as a PNG, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option("--quiet", is_flag=True, help="Show no progress bars.")
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
    """Render digits as people send them, photos among them, and count how many MODEL recognises.

    MODEL is an ONNX artifact. Each condition renders the same digits: light, pens, papers, sizes, noise.
    """
    images, labels = _mnist(split, data_dir, quiet)
    outcomes = measure_stress(model, images, labels, names or tuple(CONDITIONS), count, seed, progress=not quiet)
    if sheet:
        draw_sheet(images, names or tuple(CONDITIONS), seed, sheet)
    figures = {"dataset": dataset, "split": split, "seed": seed, "conditions": [each.to_dict() for each in outcomes]}
    click.echo(json.dumps(figures) if as_json else stress_table(outcomes).to_text())


@main.command("export")
@_run
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="The file to write.  [model.onnx in the run folder]"
)
def export_command(run: Path, out: Path | None) -> None:
    """Export the weights of RUN as an ONNX artifact, checked layer by layer."""
    click.echo(export_run(run, out))


@main.command("upgrade")
@click.argument("old", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("new", type=click.Path(dir_okay=False, path_type=Path))
def upgrade_command(old: Path, new: Path) -> None:
    """Rewrite the artifact OLD in the newest format as NEW; its parameters and activations stay the same."""
    upgrade(old, new)
    click.echo(new)
