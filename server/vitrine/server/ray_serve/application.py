"""Builds the application: a deployment whose replicas each hold a service."""

from typing import Any

from ray import serve
from ray.serve import Application

from vitrine.server.ray_serve.replica import Replica
from vitrine.server.ray_serve.settings import service_config

SERVICERS = (
    "vitrine.v1.classifier_pb2_grpc.add_ClassifierServiceServicer_to_server",
    "vitrine.oip.inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server",
    "grpc_health.v1.health_pb2_grpc.add_HealthServicer_to_server",
)
"""The functions by which Ray's gRPC proxy learns of the services: `grpc_options.grpc_servicer_functions`."""


def application(settings: dict[str, Any]) -> Application:
    """Builds the application; `serve run deploy/ray/serve.yaml` runs it, with the proxy's settings.

    `serve run vitrine.server.ray_serve:application model=model.onnx` does, too, where Serve was started with
    `SERVICERS`: that line has no option for the proxy, and without them no call gets through.

    Ray's own settings of a deployment (replicas, autoscaling, resources) belong in its configuration, under
    `deployments`, `name: vitrine`.

    Args:
        settings: `model`, the path of an artifact, or `repository`, a folder of models; without either, the bundled
            model. The others are the server's flags of those names: see `settings.DEFAULTS`.

    Raises:
        ConfigError: a setting is unknown or can't work.
    """
    config = service_config(settings)
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
