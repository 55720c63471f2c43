"""The command `vitrine replay`."""

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vitrine.bulk.cli.options import ARTIFACT, DEVICE, LOCAL, local_engine, progress_bar, remote_engine
from vitrine.client.cli.options import AS_JSON, MODEL, connection_options, one_sentence_errors
from vitrine.model.distribution import missing_extra

if TYPE_CHECKING:
    from vitrine.bulk.engines import OpenEngine
    from vitrine.bulk.replay import Captures, Comparison


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--captured",
    default="",
    show_default=False,
    help="NAME or NAME@VERSION whose captured images are replayed.  [all of them]",
)
@LOCAL
@ARTIFACT
@DEVICE
@click.option("--plot", type=click.Path(path_type=Path), help="Contact sheet of the changed images: .png, .pdf, .svg.")
@click.option("--csv", "table", type=click.Path(path_type=Path), help="CSV file of all changed images.")
@AS_JSON
@MODEL
@connection_options()
def replay(
    connection: dict[str, Any],
    folder: Path,
    captured: str,
    local: bool,
    artifact: Path | None,
    device: str,
    plot: Path | None,
    table: Path | None,
    as_json: bool,
    model: str,
) -> None:
    """Replay the images in DIR, which a server has captured, with another model, and compare the answers.

    DIR is the folder of the server's --capture. The report says how many answers have changed, and which, and how far
    probabilities, novelty and the captured layers' activations are from those that were captured.

    The exit status is 0 whatever has changed. It is 1 if a file is damaged or an image can't be answered; the report is
    of all others.
    """
    if error := missing_extra("vitrine replay", "bulk"):
        raise click.ClickException(error)
    from vitrine.bulk.replay import open_captures
    from vitrine.bulk.replay.report import document_of, text_of

    with one_sentence_errors():
        captures = open_captures(folder, captured)
        engine = local_engine(artifact, device) if local else remote_engine(connection, model)
        comparison = _compare(captures, engine, table, plot)
    click.echo(json.dumps(document_of(comparison), indent=2) if as_json else text_of(comparison))
    if comparison.damaged or comparison.errors:
        sys.exit(1)


def _compare(captures: "Captures", engine: "OpenEngine", table: Path | None, plot: Path | None) -> "Comparison":
    from vitrine.bulk.replay import ReplayJob
    from vitrine.bulk.replay import replay as run
    from vitrine.bulk.replay.report import table_of_changes

    if plot is not None:
        from vitrine.bulk.replay.sheet import write_sheet
        from vitrine.client.drawing.plot import check_matplotlib

        check_matplotlib()  # before the work
    with table_of_changes(table) as told, progress_bar(captures.images) as progress:
        comparison = asyncio.run(run(ReplayJob(captures, engine, told), progress))
    if plot is not None:
        write_sheet(comparison, plot)
    return comparison
