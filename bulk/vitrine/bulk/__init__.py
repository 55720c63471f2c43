"""Scores images in bulk: from folders, tar files and Parquet to Parquet, and goes on where a run was killed."""

from vitrine.bulk.run import Job, Summary, score
from vitrine.bulk.sources import open_source

__all__ = ["Job", "Summary", "open_source", "score"]
