"""Settings of a server: its service, its front ends and its processes. Built once, passed down, never changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from vitrine.server.frontends.grpc.config import GrpcConfig
from vitrine.server.ranges import PORTS, SECONDS
from vitrine.server.service_config import PROCESSES, ServiceConfig

GRACE_SECONDS = 5.0
"""Seconds that a worker may take to exit beyond its drain time."""

POD_SECONDS = 30
"""Seconds that Kubernetes gives a pod after SIGTERM, unless terminationGracePeriodSeconds says otherwise."""


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
    drain_seconds: float = 20.0
    """Seconds that requests under way may take to finish after that, up to a day."""
    hang_seconds: float = 10.0
    """Seconds that a worker may leave its supervisor without an answer, up to a day; 0: it is never killed for that."""

    def __post_init__(self) -> None:
        """Checks the values."""
        PROCESSES.check("workers", self.workers)
        SECONDS.check("propagation_seconds", self.propagation_seconds)
        SECONDS.check("drain_seconds", self.drain_seconds)
        SECONDS.check("hang_seconds", self.hang_seconds)

    @property
    def stop_seconds(self) -> float:
        """Seconds that a worker may take to exit; then it counts as hung."""
        return self.propagation_seconds + self.drain_seconds + GRACE_SECONDS


def pod_advice(config: ProcessConfig, environment: Mapping[str, str]) -> str:
    """The advice for a pod of Kubernetes whose stop takes longer than a pod gets by default; empty where it fits."""
    if "KUBERNETES_SERVICE_HOST" not in environment or config.stop_seconds <= POD_SECONDS:
        return ""
    return (
        f"stopping may take {config.stop_seconds:g} s, and Kubernetes kills a pod {POD_SECONDS} s after SIGTERM by "
        f"default: set terminationGracePeriodSeconds to {config.stop_seconds:g} or more"
    )


class FrontendKind(StrEnum):
    """The program that speaks HTTP/2 on the gRPC port."""

    GRPC = "grpc"
    """gRPC's own server; on every platform."""
    ENVOY = "envoy"
    """Envoy, which speaks HTTP/1.1 too; on Linux."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """All settings of a server.

    Raises:
        ConfigError: the port for HTTP is out of its range.
    """

    service: ServiceConfig = field(default_factory=ServiceConfig)
    """The service: what it serves, and how much it takes."""
    grpc: GrpcConfig = field(default_factory=GrpcConfig)
    """The gRPC front end."""
    http_port: int | None = None
    """The port of Connect and gRPC-Web, 0 to 65535; 0 takes a free one, None has none. Else it is as the gRPC port.

    Envoy speaks them on the gRPC port anyway, and everything on this one too: settings for both front ends are one.
    """
    process: ProcessConfig = field(default_factory=ProcessConfig)
    """Its processes."""
    frontend: FrontendKind = FrontendKind.GRPC
    """The program that speaks gRPC."""
    envoy_folder: str = ""
    """A folder that nobody else may look into, for Envoy's sockets: set by the command."""

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.http_port is not None:
            PORTS.check("http_port", self.http_port)

    @property
    def own_service(self) -> ServiceConfig:
        """The settings of the service in a process of its own, whose event loop's thread may run models."""
        return replace(self.service, batching=replace(self.service.batching, inline=True))

    @property
    def http(self) -> GrpcConfig | None:
        """The port for HTTP: the settings of the gRPC front end, with its own port; None: there is no such port."""
        one_port = self.frontend is FrontendKind.ENVOY and self.http_port == self.grpc.port != 0  # Envoy speaks both
        return None if self.http_port is None or one_port else replace(self.grpc, port=self.http_port)
