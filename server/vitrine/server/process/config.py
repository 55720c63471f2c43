"""The settings of a server: built once by the command line, passed down, never changed."""

from dataclasses import dataclass, field
from pathlib import Path

from vitrine.server.engine.device import Device
from vitrine.server.inference.admission import AdmissionConfig
from vitrine.server.inference.batching import BatchingConfig
from vitrine.server.inference.requests import Limits
from vitrine.server.models.rollout import RepositoryConfig
from vitrine.server.security.certificates import TlsFiles
from vitrine.server.telemetry.metrics import MetricsConfig
from vitrine.server.telemetry.tracing_config import TracingConfig


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Everything that can be set about a server."""

    model: Path
    """The artifact to serve, where no repository is."""
    repository: RepositoryConfig | None = None
    """The repository to serve."""
    host: str = "127.0.0.1"
    """The address to listen on."""
    port: int = 50051
    """The port to listen on; 0 takes a free one."""
    workers: int = 1
    """How many processes answer on it."""
    shares_port: bool = False
    """Whether other processes listen on the port, too: a worker's, set by its supervisor."""
    device: Device = Device.AUTO
    """Where the model runs."""
    threads: int = 1
    """How many images are prepared at the same time."""
    batching: BatchingConfig = field(default_factory=BatchingConfig)
    """How requests are gathered into runs of the model."""
    admission: AdmissionConfig = field(default_factory=AdmissionConfig)
    """How much may be under way at once."""
    limits: Limits = field(default_factory=Limits)
    """What one request may hold."""
    propagation_seconds: float = 0.0
    """How long the server goes on answering after SIGTERM, while its health already says NOT_SERVING."""
    drain_seconds: float = 30.0
    """How long requests under way may take to finish after that."""
    reflection: bool = True
    """Whether the server describes its services to tools such as grpcurl."""
    tls: TlsFiles | None = None
    """Where the certificates are; None: connections aren't encrypted."""
    insecure: bool = False
    """Whether plaintext may be spoken on an address that other machines can reach."""
    tokens: Path | None = None
    """The file of those who may call; None: anyone may."""
    metrics: MetricsConfig | None = None
    """Where metrics are shown; None: nowhere, and nothing is measured."""
    tracing: TracingConfig | None = None
    """Where traces of calls go; None: nothing is traced."""
