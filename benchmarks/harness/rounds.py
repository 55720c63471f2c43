"""Takes turns between what is compared: speed drifts from minute to minute, and whatever comes later is slower."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import click

Item = TypeVar("Item")


def in_turns(items: Sequence[Item], rounds: int) -> Iterator[tuple[int, Item]]:
    """Each item once a round, with the round's number from 0; the order is reversed in every other round."""
    schedule = [(turn, item) for turn in range(rounds) for item in items[:: -1 if turn % 2 else 1]]
    yield from with_progress(schedule)


def with_progress(steps: Iterable[Item], label: str = "measuring", length: int | None = None) -> Iterator[Item]:
    """The same steps, with a progress bar on standard error if that is a terminal."""
    if not sys.stderr.isatty():
        yield from steps
        return
    with click.progressbar(steps, label=label, length=length, file=sys.stderr) as bar:
        yield from bar


def log_progress(line: str) -> None:
    """Prints a line on standard error, unless that is a terminal, which has the progress bar."""
    if not sys.stderr.isatty():
        click.echo(line, err=True)
