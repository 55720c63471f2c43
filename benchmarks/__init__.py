"""Measurements of speed and cost, one script each: `python -m benchmarks.NAME`, in the repository's root."""
