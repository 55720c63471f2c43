"""Settings of a server: its service, its front ends and its processes. Built once, passed down, never changed."""

from dataclasses import dataclass, field

from vitrine.server.errors import ConfigError
from vitrine.server.frontends.grpc.config import GrpcConfig
from vitrine.server.opening import ServiceConfig


@dataclass(frozen=True, slots=True)
class ProcessConfig:
    """Worker processes and how they stop.

    Raises:
        ConfigError: there is no worker, or a time is negative.
    """

    workers: int = 1
    """Worker processes that share the port; at least 1."""
    propagation_seconds: float = 0.0
    """Seconds to keep serving after SIGTERM while health reports NOT_SERVING."""
    drain_seconds: float = 30.0
    """Seconds that requests under way may take to finish after that."""

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.workers < 1:
            raise ConfigError(f"{self.workers} workers can't serve: take at least 1")
        if self.propagation_seconds < 0 or self.drain_seconds < 0:
            raise ConfigError("propagation_seconds and drain_seconds are at least 0")


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """All settings of a server."""

    service: ServiceConfig = field(default_factory=ServiceConfig)
    """The service: what it serves, and how much it takes."""
    grpc: GrpcConfig = field(default_factory=GrpcConfig)
    """The gRPC front end."""
    process: ProcessConfig = field(default_factory=ProcessConfig)
    """Its processes."""
