"""The commands `list` and `compare`, which show finished runs."""

from pathlib import Path

import click

from vitrine.training.report.runs import RunSummary, comparison_table, find_runs, list_table


@click.command("list")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path("runs"))
def list_command(folder: Path) -> None:
    """List the finished runs in FOLDER, runs by default, with their results."""
    click.echo(list_table(find_runs(folder)).to_text())


@click.command("compare")
@click.argument("runs", type=click.Path(file_okay=False, path_type=Path), nargs=-1, required=True)
def compare_command(runs: tuple[Path, ...]) -> None:
    """Compare RUNS: the settings that differ, and the results, side by side."""
    click.echo(comparison_table([RunSummary.read(run) for run in runs]).to_text())
