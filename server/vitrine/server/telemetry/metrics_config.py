"""Settings of metrics. It imports no Prometheus, which takes long: a server without metrics does without."""

from dataclasses import dataclass
from pathlib import Path

from vitrine.server.ranges import PORTS


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Settings of metrics.

    Raises:
        ConfigError: the port is out of its range.
    """

    port: int
    """The port of `/metrics`; 0 takes a free one."""
    host: str = "127.0.0.1"
    """The address that it listens on."""
    activation_health: bool = True
    """Sample the layers' activations."""
    folder: Path | None = None
    """The folder where a worker keeps its counts, for its supervisor to show; None: this process shows its own."""
    place: int = 0
    """The worker's place among the workers."""

    def __post_init__(self) -> None:
        PORTS.check("port", self.port)
