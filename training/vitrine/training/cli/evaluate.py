"""The command `evaluate`."""

import json
from functools import partial
from pathlib import Path

import click

from vitrine.training.cli import options
from vitrine.training.cli.sources import mnist_images, source_of
from vitrine.training.data import BUILT_IN, Dataset, Examples, load_dataset
from vitrine.training.errors import CheckpointError, DataError
from vitrine.training.files.run_folder import ReportFolder, RunFolder
from vitrine.training.report import (
    FormsPlan,
    NoveltyPlan,
    StressPlan,
    Subject,
    make_report,
    to_text,
    write_report,
)
from vitrine.training.run.checkpoint import Checkpoint


@click.command("evaluate")
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
@options.data_dir
@options.pen_data
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
        identity, named = checkpoint.identity, source_of(checkpoint, source)
        dataset = load(named, shape=identity.shape).with_classes(identity.classes)
        examples = _unseen_examples(checkpoint, dataset)
        files = ReportFolder(out) if out else folder.evaluation
    report = make_report(
        subject,
        examples,
        dataset.name,
        novelty=NoveltyPlan(count, seed, fonts, look_alikes) if novelty or full else None,
        stress=StressPlan(*mnist_images("test", data_dir, quiet), count, seed) if stress or full else None,
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
