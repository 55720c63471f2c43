"""The commands `export` and `upgrade`, which write artifacts."""

from pathlib import Path

import click

from vitrine.training.cli import options
from vitrine.training.network.upgrade import upgrade
from vitrine.training.run.completion import export_run


@click.command("export")
@options.run
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write.  [RUN/model.onnx]")
def export_command(run: Path, out: Path | None) -> None:
    """Export the model of RUN as an ONNX artifact, and compare every layer with PyTorch."""
    click.echo(export_run(run, out))


@click.command("upgrade")
@click.argument("old", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("new", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace NEW if it exists.")
def upgrade_command(old: Path, new: Path, overwrite: bool) -> None:
    """Rewrite the artifact OLD as NEW in the newest format. Parameters and activations do not change."""
    upgrade(old, new, overwrite=overwrite)
    click.echo(new)
