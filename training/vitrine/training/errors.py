"""The errors of the training room; the root is `vitrine.model`'s.

VitrineError
└── TrainingError          what can go wrong between data and artifact
    ├── ConfigError        a setting is out of its range, or can't be had on this machine
    ├── DataError          a data set is missing, damaged or unusable; the text names the file
    │   └── DownloadError  no mirror gave the right file
    └── CheckpointError    a checkpoint is missing, damaged or of another run
"""

from vitrine.model import VitrineError


class TrainingError(VitrineError):
    """The root of what can go wrong between data and artifact."""


class ConfigError(TrainingError, ValueError):
    """A setting is out of its range, or can't be had on this machine."""


class DataError(TrainingError, ValueError):
    """A data set is missing, damaged or unusable; the text names the file."""


class DownloadError(DataError):
    """No mirror gave the right file; the text says what each one did instead."""


class CheckpointError(TrainingError, ValueError):
    """A checkpoint is missing, damaged, of another run, or would execute code."""
