"""The command `fit`."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import click

from vitrine.model import PIXELS_SHAPE, OutputKind, Shape
from vitrine.training.cli import options
from vitrine.training.cli.group import INTERRUPTED
from vitrine.training.cli.sources import source_of
from vitrine.training.data import BUILT_IN, DRAWINGS, Dataset, load_dataset
from vitrine.training.errors import ConfigError
from vitrine.training.files.run_folder import RunFolder
from vitrine.training.run.checkpoint import Checkpoint
from vitrine.training.run.completion import Run
from vitrine.training.run.config import DeviceChoice, find_device
from vitrine.training.run.fine_tuning import Start
from vitrine.training.run.fit import fit
from vitrine.training.run.recipes import DATA_SETS, RECIPES, for_classes, recipe

MOST_SHOWN = 20
"""Classes that are named before a fit."""


@click.command("fit")
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
    callback=options.read_size,
    metavar="HEIGHTxWIDTH",
    help="Size of the network's input in pixels: each side 4 to 128, one at most 8 times the other.  [18x18]",
)
@options.data_dir
@options.pen_data
@click.option(
    "--run",
    "run_folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the results of this run.  [runs/RECIPE or runs/DATASET]",
)
@click.option("--name", help="Name of the model on the server.  [the data set's name]")
@click.option(
    "--hidden", callback=options.read_widths, metavar="512,256", help="Width of each hidden layer.  [the recipe's]"
)
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
    "--from",
    "start_from",
    metavar="RUN|ARTIFACT",
    type=click.Path(exists=True, path_type=Path),
    help="Fine-tune: start from the parameters of a run or of any artifact, such as "
    "server/vitrine/server/bundled/digits.onnx. It must have the same classes. Its layers and its size become the "
    "defaults, and a tenth of the recipe's learning rate.",
)
@click.option(
    "--tensorboard",
    is_flag=True,
    help="Write loss, error and learning rate of each epoch into RUN/tensorboard. Needs the extra tensorboard.",
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
    start_from: Path | None,
    tensorboard: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Fit a model, evaluate it on held-out images, and export it.

    Settings that are not given come from the recipe. Ctrl-C keeps the finished epochs; --resume continues.
    """
    start = Start.read(start_from) if start_from else None
    folder = RunFolder(run_folder or Path("runs", recipe_name or Path(source or "digits").resolve().name))
    if resume:
        checkpoint = Checkpoint.load(folder.checkpoint)
        source, base = source_of(checkpoint, source), checkpoint.config
        shape = shape or checkpoint.identity.shape
    else:
        _refuse_to_replace(folder, overwrite)
        source = source or DATA_SETS.get(recipe_name or "", "digits")
        base = RECIPES[recipe_name] if recipe_name else recipe(source)
        if start:
            base, shape = start.settings(base), shape or start.mlp.shape
    given = {field: value for field, value in settings.items() if value is not None}
    config = replace(base, **given)
    find_device(config.device)  # fail before a data set is downloaded
    dataset = load_dataset(source, data_dir, pen_data, shape=shape or PIXELS_SHAPE, progress=not quiet)
    if not (quiet or resume) and dataset.source not in BUILT_IN:
        click.echo(_describe(dataset), err=True)
    if not resume and not {"forms", "counter_examples"} <= given.keys():
        config = replace(for_classes(base, dataset.classes), **given)
    files = {"teacher": teacher, "start_from": start_from}
    run = fit(
        dataset, config, folder.path, name=name, resume=resume, tensorboard=tensorboard, progress=not quiet, **files
    )
    _print_run(run)


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


def _print_run(run: Run) -> None:
    evaluation, checkpoint = run.evaluation, run.checkpoint
    before = f", {checkpoint.origin.test_error:.2%} before fine-tuning" if checkpoint.origin else ""
    click.echo(
        f"test error {evaluation.error:.2%} ({evaluation.errors:,} of {evaluation.count:,}){before}, "
        f"kept after epoch {checkpoint.kept.number} of {len(checkpoint.history)}: {run.folder.model}"
    )
    if not run.finished:
        done, all_epochs = len(checkpoint.history), checkpoint.config.epochs
        click.echo(
            f"stopped after epoch {done} of {all_epochs}; continue with --run {run.folder.path} --resume", err=True
        )
        raise click.exceptions.Exit(INTERRUPTED)
