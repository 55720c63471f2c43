"""Scores images in bulk: from folders, tar files and Parquet to Parquet, and goes on where a run was killed."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitrine.bulk.run import Job, Summary, score
    from vitrine.bulk.sources import open_source

__all__ = ["Job", "Summary", "open_source", "score"]


def __getattr__(name: str) -> Any:
    """The public names, loaded when they are asked for: `vitrine` has the command `score` without pyarrow, too."""
    if name == "open_source":
        from vitrine.bulk.sources import open_source

        return open_source
    if name in __all__:
        from vitrine.bulk import run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
