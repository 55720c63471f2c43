"""Groups of options: each group reads its own flags and hands the command one config made of them.

It knows click and no setting.
"""

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import click

Command: TypeAlias = Callable[..., Any]
Option: TypeAlias = Callable[[Command], Command]
Config = TypeVar("Config")


class OptionGroup(Generic[Config]):
    """A decorator that gives a command some options, and passes it the config that `build` makes of them.

    The config arrives as an argument of `build`'s name. Each parameter of `build` is the value of one option.

    Args:
        options: click's options, in the order of the help.
        build: makes the config; may raise `click.UsageError`.
    """

    def __init__(self, options: Sequence[Option], build: Callable[..., Config]) -> None:
        self._options = options
        self._build = build
        self._flags = tuple(inspect.signature(build).parameters)

    def __call__(self, command: Command) -> Command:
        """Decorates the command."""
        build, name, flags = self._build, self._build.__name__, self._flags

        @functools.wraps(command)
        def with_config(**values: Any) -> Any:
            config = build(**{flag: values.pop(flag) for flag in flags})
            return command(**{name: config}, **values)

        decorated: Command = with_config
        for option in reversed(self._options):  # click lists the last applied decorator first
            decorated = option(decorated)
        return decorated


def option_group(*options: Option) -> Callable[[Callable[..., Config]], OptionGroup[Config]]:
    """Turns a function that builds a config into an `OptionGroup` with these options."""
    return functools.partial(OptionGroup, options)


def option(flag: str, text: str, **settings: Any) -> Option:
    """An option that its VITRINE_ variable sets too, which the help names."""
    return click.option(flag, help=text, show_envvar=True, **settings)


def security_file(flag: str, text: str) -> Option:
    """An option that names a file of keys or tokens.

    click reads an empty variable as an absent one, which would leave the server open: it is refused instead.
    """
    variable = "VITRINE_" + flag.removeprefix("--").replace("-", "_").upper()

    def check(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
        if value is None and os.environ.get(variable) == "":
            raise click.UsageError(f"{variable} is set and empty: name a file in it, or unset it")
        return value

    return option(flag, text, type=click.Path(path_type=Path), callback=check)
