"""The errors of the training package; their base class is `VitrineError` of `vitrine.model`.

VitrineError
└── TrainingError          any error between data set and artifact
    ├── ConfigError        a setting is out of range, or not available on this machine
    ├── DataError          a data set is missing, damaged or unusable; the text names the file
    │   └── DownloadError  no mirror delivered the expected file
    └── CheckpointError    a checkpoint is missing, damaged or of another run

ImageError                 of `vitrine.model`: an image can't be turned into pixels
└── BrokenImagesError      images of a data set can't; it has the text of each
"""

from collections.abc import Sequence
from typing import Self

from vitrine.model import ImageError, VitrineError

MOST_LISTED = 10
"""Problems that one error lists."""


def list_problems(problems: Sequence[str]) -> str:
    """One text of the first `MOST_LISTED` problems, so that they can be mended together."""
    more = len(problems) - MOST_LISTED
    return "; ".join([*problems[:MOST_LISTED], *([f"and {more:,} more"] if more > 0 else [])])


class BrokenImagesError(ImageError):
    """Images of a data set can't be turned into pixels. The text has the first ones, and `problems` a text for each."""

    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, reason: str, problems: Sequence[str], where: str = "") -> Self:
        """The error for `problems`, at least one; `where` ends its text and says where all of them are listed."""
        count = f"{len(problems):,} images can't be used: " if len(problems) > 1 else ""
        error = cls(reason, f"{count}{list_problems(problems)}{where}")
        error.problems = tuple(problems)
        return error


class TrainingError(VitrineError):
    """Base class of all errors between data set and artifact."""


class ConfigError(TrainingError, ValueError):
    """A setting is out of range, or not available on this machine."""


class DataError(TrainingError, ValueError):
    """A data set is missing, damaged or unusable; the text names the file."""


class DownloadError(DataError):
    """No mirror delivered the expected file; the text gives the result of each mirror."""


class CheckpointError(TrainingError, ValueError):
    """A checkpoint is missing, damaged, of another run, or would execute code."""
