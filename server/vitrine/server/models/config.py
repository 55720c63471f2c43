"""Settings of a repository. It loads no numpy: a supervisor reads them, and serves nothing."""

from dataclasses import dataclass, field
from pathlib import Path

from vitrine.server.models.version_policy import VersionPolicy
from vitrine.server.ranges import SECONDS

RELOAD_SECONDS = 2.0
"""The usual pause between two looks at a repository, in seconds."""


@dataclass(frozen=True, slots=True)
class RepositoryConfig:
    """A repository, and which of its models are served.

    Raises:
        ConfigError: a number is out of its range.
    """

    root: Path | str
    """The folder of NAME/VERSION/model.onnx."""
    policy: VersionPolicy = field(default_factory=VersionPolicy)
    """The versions of each model that are served."""
    default: str = ""
    """The model that answers requests that name none; empty: the first by name."""
    reload_seconds: float = RELOAD_SECONDS
    """Seconds between two looks at the folder; 0: it is read once, at the start."""

    def __post_init__(self) -> None:
        SECONDS.check("reload_seconds", self.reload_seconds)
