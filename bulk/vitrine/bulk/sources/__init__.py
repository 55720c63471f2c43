"""Where images come from: folders, tar files, Parquet. Each divides its images into parts that never change."""

from vitrine.bulk.sources.opening import open_source
from vitrine.bulk.sources.source import Part, Source

__all__ = ["Part", "Source", "open_source"]
