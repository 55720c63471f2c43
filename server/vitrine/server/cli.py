"""`vitrine-server`: reads the settings from flags and VITRINE_… variables, and serves."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import click

from vitrine.server.bundled import bundled_model
from vitrine.server.engine.cpus import usable_cpus
from vitrine.server.engine.device import Device
from vitrine.server.errors import CrashLoop, StartupError
from vitrine.server.inference.admission import AdmissionConfig
from vitrine.server.inference.batching import BatchingConfig
from vitrine.server.inference.requests import Limits
from vitrine.server.models.rollout import RELOAD_SECONDS, RepositoryConfig
from vitrine.server.models.version_policy import VersionPolicy
from vitrine.server.process.config import ServerConfig
from vitrine.server.process.port import can_be_shared
from vitrine.server.process.signals import leave
from vitrine.server.process.supervisor import supervise
from vitrine.server.security.certificates import TlsFiles
from vitrine.server.telemetry.logs import LogConfig, LogFormat, log_to_stderr
from vitrine.server.telemetry.metrics import MetricsConfig
from vitrine.server.telemetry.tracing_config import TracingConfig

logger = logging.getLogger(__name__)

DEFAULTS = ServerConfig(model=Path())

METRICS_PORT = 9464
"""Where Prometheus is used to find such metrics."""

MEBIBYTE = 1 << 20
MEGAPIXEL = 1_000_000
MICROSECONDS = 1_000_000
MOST_MEGAPIXELS = 178
"""What Pillow opens at most, whatever it is told."""


Command: TypeAlias = Callable[..., None]


class Port(click.IntRange):
    """A port, which Kubernetes can't set by accident.

    For a Service called `vitrine`, Kubernetes puts VITRINE_PORT=tcp://… into every pod of its namespace.

    Args:
        usual: the port that is taken instead.
    """

    def __init__(self, usual: int) -> None:
        super().__init__(0, 65535)
        self._usual = usual

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Reads the port; the address of a Kubernetes Service stands for the usual one."""
        if isinstance(value, str) and value.startswith("tcp://"):
            name = f"VITRINE_{param.name.upper()}" if param and param.name else "a port"
            logger.warning("%s=%s is a Kubernetes Service's; taking %d", name, value, self._usual)
            return self._usual
        return int(super().convert(value, param, ctx))


class Workers(click.IntRange):
    """A number of processes, or `auto`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Reads the number; `auto` stands for the CPUs that may be used."""
        return usable_cpus() if value == "auto" else int(super().convert(value, param, ctx))


def _security_file(flag: str, text: str) -> Callable[[Command], Command]:
    """An option that names a file; an empty variable, which click takes for none, mustn't leave the server open."""
    variable = "VITRINE_" + flag.removeprefix("--").replace("-", "_").upper()

    def check(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
        if value is None and os.environ.get(variable) == "":
            raise click.UsageError(f"{variable} is set and empty: name a file in it, or unset it")
        return value

    return click.option(flag, type=click.Path(path_type=Path), show_envvar=True, help=text, callback=check)


def _read_policy(_: click.Context, __: click.Parameter, text: str) -> VersionPolicy:
    try:
        return VersionPolicy.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command(context_settings={"auto_envvar_prefix": "VITRINE", "show_default": True, "max_content_width": 110})
@click.argument("model", type=click.Path(path_type=Path), required=False, envvar="VITRINE_MODEL")
@click.option(
    "--model-repository",
    type=click.Path(path_type=Path, file_okay=False),
    show_envvar=True,
    help="A folder of NAME/VERSION/model.onnx to serve in place of MODEL; changes in it are picked up.",
)
@click.option(
    "--versions",
    metavar="POLICY",
    callback=_read_policy,
    default="latest:1",
    show_envvar=True,
    help="The versions of each model of the repository that are served: latest:N (the newest N that load), all, or "
    "numbers such as 3,5.",
)
@click.option(
    "--default-model",
    show_envvar=True,
    show_default="the first by name",
    help="The model of the repository that answers requests that name none.",
)
@click.option(
    "--reload-seconds",
    type=click.FloatRange(0),
    default=RELOAD_SECONDS,
    show_envvar=True,
    help="How often each worker looks at the repository; 0: only at its start.",
)
@click.option("--host", default=DEFAULTS.host, show_envvar=True, help="The address to listen on.")
@click.option(
    "--port", type=Port(DEFAULTS.port), default=DEFAULTS.port, show_envvar=True, help="The port; 0 takes a free one."
)
@click.option(
    "--workers",
    type=Workers(1),
    metavar="INTEGER|auto",
    default=str(DEFAULTS.workers),
    show_envvar=True,
    help="How many processes answer, each with a copy of the models; auto: one for each CPU that the server may use.",
)
@click.option(
    "--device",
    type=click.Choice([device.value for device in Device]),
    default=DEFAULTS.device.value,
    show_envvar=True,
    help="Where the model runs; auto takes CUDA where that works.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    show_envvar=True,
    show_default="the CPUs that the server may use, divided by the workers",
    help="How many images each worker prepares at the same time; half as many runs of the model are.",
)
@click.option(
    "--max-message-mb",
    type=click.IntRange(1, 2047),
    default=DEFAULTS.limits.max_message_bytes // MEBIBYTE,
    show_envvar=True,
    help="The largest request and answer, in MiB.",
)
@click.option(
    "--max-images",
    type=click.IntRange(1),
    default=DEFAULTS.limits.max_images,
    show_envvar=True,
    help="The largest number of images in one request.",
)
@click.option(
    "--max-image-megapixels",
    type=click.IntRange(1, MOST_MEGAPIXELS),
    default=DEFAULTS.limits.max_image_pixels // MEGAPIXEL,
    show_envvar=True,
    help="The largest width × height that an image file may declare, in millions.",
)
@click.option(
    "--max-batch-rows",
    type=click.IntRange(1),
    default=DEFAULTS.batching.max_rows,
    show_envvar=True,
    help="The largest number of images in one run of the model; what waits is run together.",
)
@click.option(
    "--max-queue-delay-us",
    type=click.IntRange(0),
    default=0,
    show_envvar=True,
    help="How many microseconds a batch that isn't full waits for company.",
)
@click.option(
    "--max-pending-images",
    type=click.IntRange(1),
    default=DEFAULTS.admission.max_images,
    show_envvar=True,
    help="How many images may wait or be calculated at once in each worker; more are refused with RESOURCE_EXHAUSTED.",
)
@click.option(
    "--max-pending-mb",
    type=click.IntRange(1),
    default=DEFAULTS.admission.max_bytes // MEBIBYTE,
    show_envvar=True,
    help="How many MiB the requests under way and their answers may take in each worker; more are refused likewise.",
)
@click.option(
    "--caller-rate",
    type=click.FloatRange(0),
    default=DEFAULTS.limits.caller_rate,
    show_envvar=True,
    help="How many images a second each caller may send to a worker; more are refused with RESOURCE_EXHAUSTED. A "
    "caller is a name in --tokens, or without them an address, of IPv6 a /64 network; 0: no limit.",
)
@click.option(
    "--propagation-seconds",
    type=click.FloatRange(0),
    default=DEFAULTS.propagation_seconds,
    show_envvar=True,
    help="How long it answers on after SIGTERM, its health saying NOT_SERVING, until balancers have heard of it.",
)
@click.option(
    "--drain-seconds",
    type=click.FloatRange(0),
    default=DEFAULTS.drain_seconds,
    show_envvar=True,
    help="How long requests under way may take to finish after that.",
)
@click.option(
    "--reflection/--no-reflection",
    default=DEFAULTS.reflection,
    show_envvar=True,
    help="Whether tools such as grpcurl may ask for the services' descriptions.",
)
@_security_file("--tls-cert", "PEM of the server's certificate and those between it and its authority; turns TLS on.")
@_security_file("--tls-key", "PEM of that certificate's private key.")
@_security_file("--tls-client-ca", "PEM of the authorities of which clients must present a certificate (mutual TLS).")
@click.option(
    "--insecure",
    is_flag=True,
    default=DEFAULTS.insecure,
    show_envvar=True,
    help="Allow plaintext on an address that other machines can reach.",
)
@_security_file("--tokens", "File of those who may call: NAME SHA256 PERMISSIONS on each line; without it, anyone may.")
@click.option(
    "--metrics-port",
    type=Port(METRICS_PORT),
    show_envvar=True,
    show_default="none: nothing is measured",
    help="The port of Prometheus metrics, at /metrics in plain HTTP; 0 takes a free one, and the log says which.",
)
@click.option(
    "--metrics-host", show_envvar=True, show_default="that of --host", help="The address that they are shown on."
)
@click.option(
    "--activation-health/--no-activation-health",
    default=True,
    show_envvar=True,
    help="Whether the metrics have what the layers calculate: means and dead units, over a sample of the images.",
)
@click.option(
    "--otlp-endpoint",
    metavar="URL",
    envvar=["VITRINE_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"],
    show_envvar=True,
    help="The OpenTelemetry collector that traces go to, by OTLP over gRPC; without it, nothing is traced.",
)
@click.option(
    "--trace-ratio",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_envvar=True,
    help="The share that is traced of the calls whose caller hasn't decided that.",
)
@click.option(
    "--log-format",
    type=click.Choice([form.value for form in LogFormat]),
    default=LogFormat.TEXT.value,
    show_envvar=True,
    help="Whether a line of the log is a sentence or a JSON object.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_envvar=True,
    help="How much is logged, on standard error.",
)
@click.version_option(package_name="vitrine")
def main(
    model: Path | None,
    model_repository: Path | None,
    versions: VersionPolicy,
    default_model: str | None,
    reload_seconds: float,
    host: str,
    port: int,
    workers: int,
    device: str,
    threads: int | None,
    max_message_mb: int,
    max_images: int,
    max_image_megapixels: int,
    max_batch_rows: int,
    max_queue_delay_us: int,
    max_pending_images: int,
    max_pending_mb: int,
    caller_rate: float,
    propagation_seconds: float,
    drain_seconds: float,
    reflection: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    insecure: bool,
    tokens: Path | None,
    metrics_port: int | None,
    metrics_host: str | None,
    activation_health: bool,
    otlp_endpoint: str | None,
    trace_ratio: float,
    log_format: str,
    log_level: str,
) -> None:
    """Serve MODEL, an ONNX file that vitrine-train made, or a repository of models.

    Without either, the model that ships with the server is served. MODEL can be named by
    VITRINE_MODEL too. When the server is ready, it prints its address on standard output.
    """
    log_config = LogConfig(log_level, LogFormat(log_format), traced=otlp_endpoint is not None)
    log = partial(log_to_stderr, log_config, several=workers > 1)
    log()
    _check_what_to_serve(model, model_repository, default_model)
    _check_what_may_wait(max_images, max_message_mb, max_pending_images, max_pending_mb)
    workers = _workers_here(workers)
    threads = threads or max(1, usable_cpus() // workers)
    config = ServerConfig(
        model=model or bundled_model(),
        repository=RepositoryConfig(model_repository, versions, default_model or "", reload_seconds)
        if model_repository
        else None,
        host=host.strip("[]"),
        port=port,
        workers=workers,
        device=Device(device),
        threads=threads,
        batching=BatchingConfig(max_batch_rows, max_queue_delay_us / MICROSECONDS, parallel=max(1, threads // 2)),
        admission=AdmissionConfig(max_pending_images, max_pending_mb * MEBIBYTE),
        limits=Limits(max_images, max_message_mb * MEBIBYTE, max_image_megapixels * MEGAPIXEL, caller_rate),
        propagation_seconds=propagation_seconds,
        drain_seconds=drain_seconds,
        reflection=reflection,
        tls=_tls_files(tls_cert, tls_key, tls_client_ca),
        insecure=insecure,
        tokens=tokens,
        metrics=None
        if metrics_port is None
        else MetricsConfig(metrics_port, (metrics_host or host).strip("[]"), activation_health),
        tracing=TracingConfig(otlp_endpoint, trace_ratio) if otlp_endpoint else None,
    )
    try:
        asyncio.run(_serve(config, log))
    except (StartupError, CrashLoop) as error:
        sys.exit(f"vitrine-server: {error}")
    leave()


async def _serve(config: ServerConfig, log: Callable[[], None]) -> None:
    if config.workers > 1:
        await supervise(config, _announce, log)
        return
    from vitrine.server.process.lifecycle import serve  # gRPC and ONNX Runtime, which a supervisor does without

    await serve(config, _announce)


def _workers_here(workers: int) -> int:
    """How many there can be of so many workers."""
    if workers > 1 and not can_be_shared():
        logger.warning(
            "this platform doesn't spread connections over processes on one port: running one, not %d", workers
        )
        return 1
    return workers


def _tls_files(cert: Path | None, key: Path | None, client_ca: Path | None) -> TlsFiles | None:
    if cert is not None and key is not None:
        return TlsFiles(cert, key, client_ca)
    if cert or key or client_ca:  # half of it must not end in plaintext
        raise click.UsageError("TLS takes --tls-cert and --tls-key (VITRINE_TLS_CERT, VITRINE_TLS_KEY), both")
    return None


def _check_what_to_serve(model: Path | None, repository: Path | None, default_model: str | None) -> None:
    if repository and model:
        raise click.UsageError("serve either MODEL (VITRINE_MODEL) or --model-repository, not both")
    if default_model and not repository:
        raise click.UsageError("--default-model names a model of --model-repository, and there is none")


def _check_what_may_wait(max_images: int, max_message_mb: int, max_pending_images: int, max_pending_mb: int) -> None:
    """The largest request and its answer must fit beside others, or it would be refused as long as there are any."""
    if max_pending_images < max_images or max_pending_mb < 2 * max_message_mb:
        raise click.UsageError(
            "--max-pending-images takes at least --max-images, and --max-pending-mb twice --max-message-mb: "
            "the largest request would wait for ever otherwise"
        )


def _announce(address: str) -> None:
    print(f"vitrine-server listening on {address}", flush=True)
