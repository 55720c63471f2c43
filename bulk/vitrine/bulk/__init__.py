"""Scores images in bulk: from folders, tar files and Parquet to Parquet, and goes on where a run was killed."""

from typing import TYPE_CHECKING, Any

from vitrine.model.distribution import require_extra

if TYPE_CHECKING:
    from vitrine.bulk.run import Job, Summary, score
    from vitrine.bulk.sources import open_source

__all__ = ["Job", "Summary", "open_source", "score"]


def __getattr__(name: str) -> Any:
    """The public names, loaded when they are asked for: `vitrine` has the command `score` without pyarrow, too."""
    if name in __all__:
        require_extra(f"vitrine.bulk.{name}", "bulk")
        from vitrine.bulk import run, sources

        return getattr(sources if name == "open_source" else run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
