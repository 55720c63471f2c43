"""The command `vitrine score`. It loads what it needs when it runs, so that `vitrine` starts as fast without it."""

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vitrine.client.cli.options import AS_JSON, MODEL, connection_options, one_sentence_errors
from vitrine.client.errors import UsageError
from vitrine.model.distribution import install_command, missing_extra

if TYPE_CHECKING:
    from vitrine.bulk.engines import OpenEngine
    from vitrine.bulk.run import Job, Progress, Summary


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", "folder", type=click.Path(path_type=Path), required=True, help="Folder for the results.")
@click.option(
    "--activations",
    default="",
    show_default=False,
    help="Layers whose activations are kept, such as relu_1,relu_2; or all.  [none]",
)
@click.option("--local", is_flag=True, help="Classify in this process, with --artifact, in place of a server.")
@click.option("--artifact", type=click.Path(path_type=Path), help="ONNX file for --local.  [the bundled model]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Device for --local.")
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
        engine = _local(artifact, device) if local else _remote(connection, model)
        wanted = tuple(name.strip() for name in activations.split(",") if name.strip())
        summary = _run(Job(opened, folder.absolute(), engine, wanted), ray_workers)
    click.echo(json.dumps(_document(summary)) if as_json else _sentence(summary, folder))


def _local(artifact: Path | None, device: str) -> "OpenEngine":
    from vitrine.bulk.engines.local import open_local

    return partial(open_local, artifact and artifact.absolute(), device)


def _remote(connection: dict[str, Any], model: str) -> "OpenEngine":
    from vitrine.bulk.engines.remote import open_remote

    return partial(open_remote, connection, model)


def _run(job: "Job", ray_workers: int | None) -> "Summary":
    from vitrine.bulk.run import score as run

    with _shown(job.source.images) as progress:
        if ray_workers is None:
            return asyncio.run(run(job, progress))
        from vitrine.bulk.on_ray import score_on_ray  # loads Ray

        with redirect_stdout(sys.stderr):  # Ray tells of workers that died, and standard output is the command's
            return score_on_ray(job, ray_workers, progress)


@contextmanager
def _shown(images: int) -> Iterator["Progress"]:
    """A progress bar with rate and time left, if standard error is a terminal."""
    from tqdm import tqdm

    with tqdm(total=images, unit="image", unit_scale=True, disable=not sys.stderr.isatty()) as bar:

        def update(images: int) -> None:
            bar.update(images)

        yield update


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
