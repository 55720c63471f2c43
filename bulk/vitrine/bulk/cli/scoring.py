"""The command `vitrine score`."""

import asyncio
import json
import sys
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vitrine.bulk.cli.options import ARTIFACT, DEVICE, LOCAL, local_engine, progress_bar, remote_engine
from vitrine.client.cli.options import AS_JSON, MODEL, connection_options, one_sentence_errors
from vitrine.client.errors import UsageError
from vitrine.model.distribution import install_command, missing_extra

if TYPE_CHECKING:
    from vitrine.bulk.run import Job, Summary


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", "folder", type=click.Path(path_type=Path), required=True, help="Folder for the results.")
@click.option(
    "--activations",
    default="",
    show_default=False,
    help="Layers whose activations are kept, such as relu_1,relu_2; or all.  [none]",
)
@LOCAL
@ARTIFACT
@DEVICE
@click.option("--column", default="", show_default=False, help="Column of images in Parquet.  [pixels, image, …]")
@click.option("--part-images", type=click.IntRange(1), default=50_000, help="Images in each file of results.")
@click.option(
    "--ray-workers",
    type=click.IntRange(1),
    help="Workers on a Ray cluster, each of which scores parts: RAY_ADDRESS, or this machine.  [none]",
)
@AS_JSON
@MODEL
@connection_options()
def score(
    connection: dict[str, Any],
    source: Path,
    folder: Path,
    activations: str,
    local: bool,
    artifact: Path | None,
    device: str,
    column: str,
    part_images: int,
    ray_workers: int | None,
    as_json: bool,
    model: str,
) -> None:
    """Score all images of SOURCE, and write predictions to Parquet files in --out.

    SOURCE is a folder of images, a .tar file or a folder of them (as WebDataset writes), or Parquet files with a column
    of image files, or of `pixels` that are prepared already.

    A run that was stopped or killed goes on where it was when the same command is given again. An image that can't be
    read is a row with its error.
    """
    if error := missing_extra("vitrine score", "bulk"):
        raise click.ClickException(error)
    if ray_workers and find_spec("ray") is None:
        raise click.ClickException(f"--ray-workers needs the extra `ray`: {install_command('ray')}")
    from vitrine.bulk.run import Job
    from vitrine.bulk.sources import open_source

    with one_sentence_errors():
        if folder.resolve().is_relative_to(source.resolve()):
            raise UsageError(f"--out {folder} lies in {source}: the results would become a part of the source")
        opened = open_source(source.absolute(), part_images, column)  # workers of Ray have folders of their own
        engine = local_engine(artifact and artifact.absolute(), device) if local else remote_engine(connection, model)
        wanted = tuple(name.strip() for name in activations.split(",") if name.strip())
        summary = _run(Job(opened, folder.absolute(), engine, wanted), ray_workers)
    click.echo(json.dumps(_document(summary)) if as_json else _sentence(summary, folder))


def _run(job: "Job", ray_workers: int | None) -> "Summary":
    from vitrine.bulk.run import score as run

    with progress_bar(job.source.images) as progress:
        if ray_workers is None:
            return asyncio.run(run(job, progress))
        from vitrine.bulk.on_ray import score_on_ray  # loads Ray

        with redirect_stdout(sys.stderr):  # Ray tells of workers that died, and standard output is the command's
            return score_on_ray(job, ray_workers, progress)


def _document(summary: "Summary") -> dict[str, Any]:
    return {
        "images": summary.images,
        "errors": summary.errors,
        "images_before": summary.images_before,
        "seconds": round(summary.seconds, 3),
        "images_per_second": round(summary.rate, 1),
    }


def _sentence(summary: "Summary", folder: Path) -> str:
    before = f"; {summary.images_before:,} were there already" if summary.images_before else ""
    errors = f", {summary.errors:,} of them can't be read" if summary.errors else ""
    return f"{folder}: {summary.images:,} images{errors}, {summary.rate:,.0f} a second{before}"
