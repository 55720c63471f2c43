"""Builds the application: a deployment whose replicas each hold a service."""

from typing import Any

from ray import serve
from ray.serve import Application

from vitrine.server.errors import ConfigError
from vitrine.server.inference.admission import AdmissionConfig
from vitrine.server.models.rollout import RepositoryConfig
from vitrine.server.opening import ServiceConfig
from vitrine.server.ray_serve.replica import Replica

SERVICERS = (
    "vitrine.v1.classifier_pb2_grpc.add_ClassifierServiceServicer_to_server",
    "vitrine.oip.inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server",
    "grpc_health.v1.health_pb2_grpc.add_HealthServicer_to_server",
)
"""The functions by which Ray's gRPC proxy learns of the services: `grpc_options.grpc_servicer_functions`."""

SETTINGS = ("model", "repository", "device", "threads", "tokens", "max_pending_mb")
"""The names of what `application` takes."""


def application(settings: dict[str, Any]) -> Application:
    """Builds the application: `serve run vitrine.server.ray_serve:application model=model.onnx`.

    Ray's own settings of a deployment (replicas, autoscaling, resources) belong in its configuration, under
    `deployments`, `name: vitrine`.

    Args:
        settings: `model`, the path of an artifact, or `repository`, a folder of models; without either, the bundled
            model. `device`: auto, cpu or cuda. `threads`: image files of one caller that a replica prepares at once.
            `tokens`: the file of callers. `max_pending_mb`: MiB of requests and answers under way in a replica.

    Raises:
        ConfigError: a setting is unknown or can't work.
    """
    if unknown := sorted(set(settings) - set(SETTINGS)):
        raise ConfigError(f"the application knows no setting {unknown[0]!r}; it knows {', '.join(SETTINGS)}")
    config = service_config(**settings)
    deployment: Any = serve.deployment(Replica, name="vitrine")
    built: Application = deployment.options(**USUAL).bind(config)
    return built


USUAL: dict[str, Any] = {
    "max_ongoing_requests": 256,
    "autoscaling_config": {"min_replicas": 1, "max_replicas": 8, "target_ongoing_requests": 64},
    "graceful_shutdown_timeout_s": 30,
    "health_check_period_s": 5,
    "ray_actor_options": {"num_cpus": 1},
    "logging_config": {"enable_access_log": False},
}
"""The deployment's settings, unless Ray's configuration has others. Requests under way at once share runs."""


def service_config(
    model: str | None = None,
    repository: str | None = None,
    device: str = "auto",
    threads: int = 1,
    tokens: str | None = None,
    max_pending_mb: int = 512,
) -> ServiceConfig:
    """The settings of a replica's service."""
    from vitrine.server.engine.device import Device

    return ServiceConfig(
        model=model,
        repository=RepositoryConfig(repository) if repository else None,
        device=Device(device),
        threads=threads,
        tokens=tokens,
        admission=AdmissionConfig(max_bytes=max_pending_mb << 20),
    )
