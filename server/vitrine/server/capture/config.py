"""Settings of the capture of images. It loads no Parquet."""

from dataclasses import dataclass
from pathlib import Path

from vitrine.server.ranges import RealRange, WholeRange

ALL = "all"
"""The choice of all layers."""

CAPTURE_RATIOS = RealRange(0, 1)
"""The shares of requests that are kept."""

CAPTURE_BYTES = WholeRange(16 << 20, 1 << 50)
"""The bytes that the parts in a folder may take."""

PART_SECONDS = RealRange(1, 86_400)
"""The seconds for which a part may be written."""

LARGEST_PART_BYTES, SMALLEST_PART_BYTES = 32 << 20, 64 << 10
"""Bytes from which on a part is complete, at most and at least."""

OPEN_PARTS = 4
"""Parts that a process writes at once: each has the rows of one model."""


@dataclass(frozen=True, slots=True)
class CaptureConfig:
    """Settings of the capture.

    Raises:
        ConfigError: a number is out of its range.
    """

    folder: Path
    """The folder of the parts."""
    ratio: float = 0.01
    """The share of requests that are kept, 0 to 1."""
    layers: tuple[str, ...] = ()
    """The layers whose activations are kept, where a model has them; `ALL` alone: every layer."""
    max_bytes: int = 1 << 30
    """The bytes that all parts in the folder may take; the oldest ones are deleted."""
    part_seconds: float = 600.0
    """Seconds after which a part is complete, however few rows it has."""

    def __post_init__(self) -> None:
        """Checks the values."""
        CAPTURE_RATIOS.check("capture ratio", self.ratio)
        CAPTURE_BYTES.check("capture max_bytes", self.max_bytes)
        PART_SECONDS.check("capture part_seconds", self.part_seconds)

    def part_bytes(self, processes: int) -> int:
        """Bytes from which on a part is complete: half of the folder's bytes are enough for those of all processes."""
        share = self.max_bytes // (2 * OPEN_PARTS * processes)
        return max(SMALLEST_PART_BYTES, min(LARGEST_PART_BYTES, share))
