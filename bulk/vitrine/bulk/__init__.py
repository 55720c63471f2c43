"""Scores images in bulk: from folders, tar files and Parquet to Parquet, and goes on where a run was killed.

Its names are loaded when they are asked for: the command `vitrine` comes through here, too, and must start where the
extra `bulk` isn't installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitrine.bulk.run import Job, Summary, score
    from vitrine.bulk.sources import open_source

__all__ = ["Job", "Summary", "open_source", "score"]

_MODULES = {"Job": "run", "Summary": "run", "open_source": "sources", "score": "run"}


def __getattr__(name: str) -> Any:
    """A name of `__all__`."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
