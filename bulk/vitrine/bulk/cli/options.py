"""The options of the engine that classifies, and the bar that shows progress. They know no command."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from vitrine.bulk.engines import OpenEngine
    from vitrine.bulk.run import Progress

LOCAL = click.option("--local", is_flag=True, help="Classify in this process, with --artifact, in place of a server.")
ARTIFACT = click.option(
    "--artifact", type=click.Path(path_type=Path), help="ONNX file for --local.  [the bundled model]"
)
DEVICE = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Device for --local."
)


def local_engine(artifact: Path | None, device: str) -> "OpenEngine":
    """The engine in this process."""
    from vitrine.bulk.engines.local import open_local

    return partial(open_local, artifact, device)


def remote_engine(connection: dict[str, Any], model: str) -> "OpenEngine":
    """Servers."""
    from vitrine.bulk.engines.remote import open_remote

    return partial(open_remote, connection, model)


@contextmanager
def progress_bar(images: int) -> Iterator["Progress"]:
    """A progress bar with rate and time left, if standard error is a terminal."""
    from tqdm import tqdm

    with tqdm(total=images, unit="image", unit_scale=True, disable=not sys.stderr.isatty()) as bar:

        def update(images: int) -> None:
            bar.update(images)

        yield update
