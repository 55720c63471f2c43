"""The errors of the training package; their base class is `VitrineError` of `vitrine.model`.

VitrineError
└── TrainingError          any error between data set and artifact
    ├── ConfigError        a setting is out of range, or not available on this machine
    ├── DataError          a data set is missing, damaged or unusable; the text names the file
    │   └── DownloadError  no mirror delivered the expected file
    └── CheckpointError    a checkpoint is missing, damaged or of another run
"""

from vitrine.model import VitrineError


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
