"""The drawings of results, by the results' types.

A result knows that it can be drawn, and asks here; modules of `drawing` know how, and enter their functions. So the
types import no drawing, and matplotlib is imported only to draw.
"""

import os
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

Draw: TypeAlias = Callable[[Any, str | None], Any]
"""Makes matplotlib's figure of a result, with a title; None: the usual title."""

Show: TypeAlias = Callable[[Any], str]
"""Makes HTML of a result, for notebooks."""

Function = TypeVar("Function", bound=Callable[..., Any])

_DRAWN: dict[type, Draw] = {}
_SHOWN: dict[type, Show] = {}
_WRITERS: list[Callable[[Any, str | os.PathLike[str]], None]] = []


def draws(kind: type) -> Callable[[Function], Function]:
    """Enters a function as the one that draws results of a type."""

    def enter(draw: Function) -> Function:
        _DRAWN[kind] = draw
        return draw

    return enter


def shows(kind: type) -> Callable[[Function], Function]:
    """Enters a function as the one that makes HTML of results of a type."""

    def enter(show: Function) -> Function:
        _SHOWN[kind] = show
        return show

    return enter


def writes(write: Function) -> Function:
    """Enters the function that writes figures to files."""
    _WRITERS[:] = [write]
    return write


class Drawable:
    """A result that can be drawn."""

    __slots__ = ()

    def plot(self, path: str | os.PathLike[str] | None = None, *, title: str | None = None) -> Any:
        """Draws it; returns matplotlib's `Figure`, which a notebook shows.

        Args:
            path: a file for the figure, too; its suffix is the format: .png, .pdf or .svg. None: none is written.
            title: title of the figure; None: the usual one.

        Raises:
            UsageError: matplotlib is missing (`vitrine-serving[plot]`), or the file can't be written.
        """
        figure = _DRAWN[type(self)](self, title)
        if path is not None:
            _WRITERS[0](figure, path)
        return figure


class Shown(Drawable):
    """A result that notebooks show as a table, without matplotlib."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return _SHOWN[type(self)](self)
