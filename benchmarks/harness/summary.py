"""The one format of a measured value: median and range over rounds. It knows no unit."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """One value a round, summarized."""

    median: float
    minimum: float
    maximum: float
    n: int
    """Number of rounds."""

    @classmethod
    def of(cls, values: Sequence[float]) -> "Summary":
        """Summary of one value for each round; at least one."""
        return cls(statistics.median(values), min(values), max(values), len(values))

    def text(self, digits: int) -> str:
        """`median (minimum to maximum, n=rounds)`, each with that many decimal places."""
        low, high = f"{self.minimum:,.{digits}f}", f"{self.maximum:,.{digits}f}"
        return f"{self.median:,.{digits}f} ({low} to {high}, n={self.n})"
