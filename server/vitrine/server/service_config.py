"""Settings of a service. It loads no numpy: a supervisor reads them, and opens nothing."""

from dataclasses import dataclass, field
from pathlib import Path

from vitrine.server.capture.config import CaptureConfig
from vitrine.server.engine.cpus import usable_cpus
from vitrine.server.engine.device import Device
from vitrine.server.errors import ConfigError
from vitrine.server.inference.admission import AdmissionConfig
from vitrine.server.inference.config import CACHE_BYTES, BatchingConfig, Limits
from vitrine.server.inference.connections import ConnectionConfig
from vitrine.server.models.config import RepositoryConfig
from vitrine.server.ranges import WholeRange
from vitrine.server.telemetry.metrics_config import MetricsConfig
from vitrine.server.telemetry.tracing_config import TracingConfig

THREADS = WholeRange(1, 4096)
"""The numbers of preparation threads."""

PROCESSES = WholeRange(1, 4096)
"""The numbers of processes that share a machine's CPUs."""


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """Settings of a service.

    Raises:
        ConfigError: two settings contradict each other, or a number is out of its range.
    """

    model: Path | str | None = None
    """The artifact to serve; None serves the bundled model, or the repository where there is one."""
    repository: RepositoryConfig | None = None
    """The repository to serve in place of one artifact."""
    device: Device = Device.AUTO
    """The device that runs the models."""
    threads: int | None = None
    """Images of one caller that are prepared at once; None takes the usable CPUs divided by `processes`."""
    processes: int = 1
    """Processes that open such a service on this machine and share its CPUs."""
    batching: BatchingConfig = field(default_factory=BatchingConfig)
    """The size of batches, and how long they wait."""
    admission: AdmissionConfig = field(default_factory=AdmissionConfig)
    """The work that may be pending."""
    connections: ConnectionConfig = field(default_factory=ConnectionConfig)
    """The limits of connections."""
    limits: Limits = field(default_factory=Limits)
    """The limits of one request and one caller."""
    tokens: Path | str | None = None
    """The file of callers; None lets anyone call."""
    metrics: MetricsConfig | None = None
    """The metrics; None measures nothing."""
    tracing: TracingConfig | None = None
    """The traces of calls; None traces nothing."""
    cache_bytes: int = 0
    """Bytes of answers to keep for images that come again; 0 keeps none."""
    capture: CaptureConfig | None = None
    """The capture of images; None keeps none."""
    access_log: bool = False
    """Log each finished call at info level, not at debug level."""
    weights_register: str = ""
    """The register by which processes share large weights: set by the supervisor; empty: this one shares none."""

    def __post_init__(self) -> None:
        """Checks the values against each other."""
        if self.repository and self.model:
            raise ConfigError("serve either MODEL (VITRINE_MODEL) or --model-repository, not both")
        PROCESSES.check("processes", self.processes)
        CACHE_BYTES.check("cache_bytes", self.cache_bytes)
        if self.threads is not None:
            THREADS.check("threads", self.threads)
        # The largest request and its answer must fit beside others, or it would wait until there are none.
        if self.admission.max_images < self.limits.max_images:
            raise ConfigError(
                f"--max-pending-images is {self.admission.max_images:,}, less than --max-images, "
                f"{self.limits.max_images:,}: raise the first or lower the second"
            )
        if self.admission.max_bytes < 2 * self.limits.max_message_bytes:
            raise ConfigError(
                f"--max-pending-mb is {self.admission.max_bytes >> 20:,}, less than twice --max-message-mb, "
                f"{self.limits.max_message_bytes >> 20:,}: raise the first or lower the second"
            )

    @property
    def preparation_threads(self) -> int:
        """Images prepared at the same time; at least 1."""
        return self.threads or max(1, usable_cpus() // self.processes)

    @property
    def parallel_runs(self) -> int:
        """Model runs at the same time: half of the preparation threads, which leaves CPUs for preparation."""
        return max(1, self.preparation_threads // 2)
