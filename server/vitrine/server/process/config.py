"""Settings of a server: its service, its front ends and its processes. Built once, passed down, never changed."""

from dataclasses import dataclass, field

from vitrine.server.frontends.grpc.config import GrpcConfig
from vitrine.server.opening import PROCESSES, ServiceConfig
from vitrine.server.ranges import SECONDS

GRACE_SECONDS = 5.0
"""Seconds that a worker may take to exit beyond its drain time."""


@dataclass(frozen=True, slots=True)
class ProcessConfig:
    """Worker processes and how they stop.

    Raises:
        ConfigError: a number is out of its range.
    """

    workers: int = 1
    """Worker processes that share the port, 1 to 4,096."""
    propagation_seconds: float = 0.0
    """Seconds to keep serving after SIGTERM while health reports NOT_SERVING, up to a day."""
    drain_seconds: float = 30.0
    """Seconds that requests under way may take to finish after that, up to a day."""

    hang_seconds: float = 10.0
    """Seconds that a worker may leave its supervisor without an answer, up to a day; 0: it is never killed for that."""

    def __post_init__(self) -> None:
        """Checks the values."""
        SECONDS.check("hang_seconds", self.hang_seconds)
        PROCESSES.check("workers", self.workers)
        SECONDS.check("propagation_seconds", self.propagation_seconds)
        SECONDS.check("drain_seconds", self.drain_seconds)

    @property
    def stop_seconds(self) -> float:
        """Seconds that a worker may take to exit; then it counts as hung."""
        return self.propagation_seconds + self.drain_seconds + GRACE_SECONDS


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """All settings of a server."""

    service: ServiceConfig = field(default_factory=ServiceConfig)
    """The service: what it serves, and how much it takes."""
    grpc: GrpcConfig = field(default_factory=GrpcConfig)
    """The gRPC front end."""
    process: ProcessConfig = field(default_factory=ProcessConfig)
    """Its processes."""
