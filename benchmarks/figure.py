"""A figure of a benchmark: what several rounds found, in short. It knows no unit."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """What was found in every round, in short."""

    median: float
    least: float
    most: float
    n: int
    """How many rounds."""

    @classmethod
    def of(cls, values: Sequence[float]) -> "Figure":
        """That of one value for each round."""
        return cls(statistics.median(values), min(values), max(values), len(values))

    def text(self, digits: int) -> str:
        """It, with so many digits after the point."""
        return f"{self.median:.{digits}f} ({self.least:.{digits}f} to {self.most:.{digits}f}, n={self.n})"
