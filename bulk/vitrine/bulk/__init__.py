"""Scores images in bulk: from folders, tar files and Parquet to Parquet, and goes on where a run was killed.

Its names are imported when they are first used: the command `vitrine` starts without pyarrow, which they need.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from vitrine.model.distribution import require_extra

if TYPE_CHECKING:
    from vitrine.bulk.run import Job, Summary, score
    from vitrine.bulk.sources import open_source

__all__ = ["Job", "Summary", "open_source", "score"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require_extra(f"vitrine.bulk.{name}", "bulk")
    return getattr(import_module(f"{__name__}.{'sources' if name == 'open_source' else 'run'}"), name)
