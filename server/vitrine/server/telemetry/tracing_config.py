"""Settings of tracing. A leaf, which loads nothing of OpenTelemetry."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from vitrine.server.ranges import RealRange

RATIOS = RealRange(0, 1)
"""The shares of calls that are traced."""


@dataclass(frozen=True, slots=True)
class TracingConfig:
    """Settings of tracing.

    Raises:
        ConfigError: the ratio is out of its range.
    """

    endpoint: str
    """The collector's URL, for OTLP over gRPC: http://HOST:PORT, or https://HOST:PORT for TLS."""
    ratio: float = 1.0
    """The share that is traced, 0 to 1, of the calls whose caller hasn't decided it."""

    def __post_init__(self) -> None:
        RATIOS.check("ratio", self.ratio)

    @property
    def collector(self) -> str:
        """The collector's HOST:PORT."""
        return urlsplit(self.endpoint).netloc

    @property
    def host(self) -> str:
        """The collector's host."""
        return urlsplit(self.endpoint).hostname or ""
