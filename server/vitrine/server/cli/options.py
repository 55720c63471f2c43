"""The options of `vitrine-server`, one group for each config. Defaults are the configs' own."""

from pathlib import Path

import click

from vitrine.server.capture.config import CAPTURE_BYTES, CAPTURE_RATIOS, PART_SECONDS, CaptureConfig
from vitrine.server.cli.groups import option, option_group, security_file
from vitrine.server.cli.types import Number, Policy, Port, Whole, Workers
from vitrine.server.engine.device import Device
from vitrine.server.frontends.grpc.config import GrpcConfig
from vitrine.server.inference.admission import PENDING_BYTES, PENDING_IMAGES, AdmissionConfig
from vitrine.server.inference.config import (
    BATCH_DELAYS,
    BATCH_ROWS,
    CACHE_BYTES,
    CALLER_RATES,
    IMAGE_PIXELS,
    MESSAGE_BYTES,
    REQUEST_IMAGES,
    BatchingConfig,
    Limits,
)
from vitrine.server.inference.connections import AGES, CONNECTIONS, TRANSFER_SECONDS, ConnectionConfig
from vitrine.server.models.config import RELOAD_SECONDS, RepositoryConfig
from vitrine.server.models.version_policy import VersionPolicy
from vitrine.server.process.config import FrontendKind, ProcessConfig
from vitrine.server.ranges import SECONDS, WholeRange
from vitrine.server.security.addresses import without_brackets
from vitrine.server.security.certificates import TlsFiles
from vitrine.server.service_config import THREADS as THREAD_COUNTS
from vitrine.server.telemetry.logs import LogConfig, LogFormat
from vitrine.server.telemetry.metrics_config import MetricsConfig
from vitrine.server.telemetry.tracing_config import RATIOS, TracingConfig

GRPC, PROCESS, LOGS = GrpcConfig(), ProcessConfig(), LogConfig()
LIMITS, BATCHING, ADMISSION, CONNECTION = Limits(), BatchingConfig(), AdmissionConfig(), ConnectionConfig()
CAPTURE = CaptureConfig(Path("captures"))
"""The configs with their defaults."""

CAPTURE_SETTINGS = ("capture_ratio", "capture_layers", "capture_max_mb", "capture_part_seconds")
"""The options that do nothing without `--capture`."""

NOT_GIVEN = click.core.ParameterSource.DEFAULT
"""The source of a value that neither the command nor the environment has."""

METRICS_PORT = 9464
"""The usual port of OpenTelemetry's Prometheus exporters, taken where Kubernetes has set the variable."""

USUAL_HTTP_PORT = 8080
"""The port taken for HTTP where Kubernetes has set the variable."""

MEBIBYTE = 1 << 20
MEGAPIXEL = 1_000_000
MICROSECONDS = 1_000_000


@option_group(
    option(
        "--model-repository",
        "Directory of models to serve instead of MODEL, as NAME/VERSION/model.onnx. Changes are picked up while "
        "serving.",
        type=click.Path(path_type=Path, file_okay=False),
    ),
    option(
        "--versions",
        "Versions of each model in the repository to serve: latest:N (the newest N that load), all, or numbers such "
        "as 3,5.",
        type=Policy(),
        metavar="POLICY",
        default="latest:1",
    ),
    option(
        "--default-model",
        "Model of the repository that answers requests that name none.",
        show_default="the first by name",
    ),
    option(
        "--reload-seconds",
        "Seconds between two scans of the repository, in each worker; 0 scans only at start-up.",
        type=Number(SECONDS),
        default=RELOAD_SECONDS,
    ),
)
def repository(
    model_repository: Path | None, versions: VersionPolicy, default_model: str | None, reload_seconds: float
) -> RepositoryConfig | None:
    """The repository; None without --model-repository."""
    if model_repository is None:
        if default_model:
            raise click.UsageError("--default-model names a model of --model-repository, which isn't set")
        return None
    return RepositoryConfig(model_repository, versions, default_model or "", reload_seconds)


@option_group(
    option("--host", "Address to listen on.", default=GRPC.host),
    option("--port", "Port to listen on; 0 takes a free one.", type=Port(GRPC.port), default=GRPC.port),
    option(
        "--reflection/--no-reflection",
        "Let tools such as grpcurl read the services' descriptions.",
        default=GRPC.reflection,
    ),
    option(
        "--page/--no-page",
        "Serve the page to draw on and look inside, where HTTP is spoken: --http-port, or Envoy.",
        default=GRPC.page,
    ),
    security_file("--tls-cert", "PEM file of the server's certificate and its intermediates; turns TLS on."),
    security_file("--tls-key", "PEM file of that certificate's private key, unencrypted."),
    security_file(
        "--tls-client-ca",
        "PEM file of the authorities that sign client certificates; clients must then present one (mutual TLS).",
    ),
    option(
        "--insecure",
        "Allow plaintext on an address that other machines can reach.",
        is_flag=True,
        default=GRPC.insecure,
    ),
)
def grpc(
    host: str,
    port: int,
    reflection: bool,
    page: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    insecure: bool,
) -> GrpcConfig:
    """The gRPC front end."""
    tls = None
    if tls_cert is not None and tls_key is not None:
        tls = TlsFiles(tls_cert, tls_key, tls_client_ca)
    elif tls_cert or tls_key or tls_client_ca:  # half of it must not end in plaintext
        raise click.UsageError("TLS needs both --tls-cert and --tls-key (VITRINE_TLS_CERT, VITRINE_TLS_KEY)")
    return GrpcConfig(without_brackets(host), port, reflection=reflection, page=page, tls=tls, insecure=insecure)


@option_group(
    option(
        "--workers",
        "Worker processes; they share weights that lie beside a model's file. auto starts one for each usable CPU.",
        type=Workers(),
        metavar="INTEGER|auto",
        default=str(PROCESS.workers),
    ),
    option(
        "--propagation-seconds",
        "Seconds to keep serving after SIGTERM while health reports NOT_SERVING, so that load balancers can drain.",
        type=Number(SECONDS),
        default=PROCESS.propagation_seconds,
    ),
    option(
        "--drain-seconds",
        "Seconds that requests under way may take to finish after that; then they are cancelled.",
        type=Number(SECONDS),
        default=PROCESS.drain_seconds,
    ),
    option(
        "--hang-seconds",
        "Seconds that a worker's event loop may leave its supervisor without an answer; then the worker is killed and "
        "replaced. 0 waits forever.",
        type=Number(SECONDS),
        default=PROCESS.hang_seconds,
    ),
)
def process(workers: int, propagation_seconds: float, drain_seconds: float, hang_seconds: float) -> ProcessConfig:
    """The processes of the server."""
    return ProcessConfig(workers, propagation_seconds, drain_seconds, hang_seconds)


@option_group(
    option(
        "--max-message-mb",
        "Largest request and largest answer, in MiB.",
        type=Whole(MESSAGE_BYTES, MEBIBYTE),
        default=LIMITS.max_message_bytes // MEBIBYTE,
    ),
    option(
        "--max-images",
        "Largest number of images in one request.",
        type=Whole(REQUEST_IMAGES),
        default=LIMITS.max_images,
    ),
    option(
        "--max-image-megapixels",
        "Largest width × height of an image file, in millions of pixels.",
        type=Whole(IMAGE_PIXELS, MEGAPIXEL),
        default=LIMITS.max_image_pixels // MEGAPIXEL,
    ),
    option(
        "--caller-rate",
        "Images per second that each caller may send to one worker; 0 sets no limit. Further requests fail with "
        "RESOURCE_EXHAUSTED. A caller is a name in --tokens; without tokens, an IPv4 address or an IPv6 /64 network.",
        type=Number(CALLER_RATES),
        default=LIMITS.caller_rate,
    ),
)
def limits(max_message_mb: int, max_images: int, max_image_megapixels: int, caller_rate: float) -> Limits:
    """The limits of one request and one caller."""
    return Limits(max_images, max_message_mb * MEBIBYTE, max_image_megapixels * MEGAPIXEL, caller_rate)


@option_group(
    option(
        "--max-batch-rows",
        "Largest number of images in one run of a model; requests that wait share a run.",
        type=Whole(BATCH_ROWS),
        default=BATCHING.max_rows,
    ),
    option(
        "--max-queue-delay-us",
        "Microseconds that a batch with free rows waits for more requests.",
        type=Whole(WholeRange(0, round(BATCH_DELAYS.most * MICROSECONDS))),
        default=round(BATCHING.max_delay * MICROSECONDS),
    ),
)
def batching(max_batch_rows: int, max_queue_delay_us: int) -> BatchingConfig:
    """The batches."""
    return BatchingConfig(max_batch_rows, max_queue_delay_us / MICROSECONDS)


@option_group(
    option(
        "--max-pending-images",
        "Images that may wait or run at once in each worker; further requests fail with RESOURCE_EXHAUSTED.",
        type=Whole(PENDING_IMAGES),
        default=ADMISSION.max_images,
    ),
    option(
        "--max-pending-mb",
        "MiB that pending requests and their answers may take in each worker; further requests fail with "
        "RESOURCE_EXHAUSTED.",
        type=Whole(PENDING_BYTES, MEBIBYTE),
        default=ADMISSION.max_bytes // MEBIBYTE,
    ),
)
def admission(max_pending_images: int, max_pending_mb: int) -> AdmissionConfig:
    """The work that may be pending."""
    return AdmissionConfig(max_pending_images, max_pending_mb * MEBIBYTE)


@option_group(
    option(
        "--transfer-seconds",
        "Seconds that a request may take to arrive, and an answer to leave. A request that is late fails with "
        "DEADLINE_EXCEEDED; the connection of an answer that isn't read is closed.",
        type=Number(TRANSFER_SECONDS),
        default=CONNECTION.transfer_seconds,
    ),
    option(
        "--max-connections",
        "Connections that may be open at once in each worker; beyond that, idle ones are closed.",
        type=Whole(CONNECTIONS),
        show_default="three quarters of the files that a process may open",
    ),
    option(
        "--max-connection-age-seconds",
        "Seconds after which a connection takes no new calls, and its client connects again: so that calls reach new "
        "servers behind a name. Calls under way finish. 0 sets no limit.",
        type=Number(AGES),
        default=CONNECTION.max_age_seconds,
    ),
)
def connections(
    transfer_seconds: float, max_connections: int | None, max_connection_age_seconds: float
) -> ConnectionConfig:
    """The connections."""
    return ConnectionConfig(transfer_seconds, max_connections, max_connection_age_seconds)


@option_group(
    option(
        "--metrics-port",
        "Port of Prometheus metrics, at /metrics over plain HTTP; 0 takes a free one, which the log names.",
        type=Port(METRICS_PORT),
        show_default="none: metrics are off",
    ),
    option("--metrics-host", "Address to serve metrics on.", show_default="that of --host"),
    option(
        "--activation-health/--no-activation-health",
        "Measure each layer's mean and dead units on a sample of the images.",
        default=True,
    ),
)
def metrics(metrics_port: int | None, metrics_host: str | None, activation_health: bool) -> MetricsConfig | None:
    """The metrics; None without --metrics-port. An empty host stands for that of --host."""
    if metrics_port is None:
        return None
    return MetricsConfig(metrics_port, without_brackets(metrics_host or ""), activation_health)


@option_group(
    option(
        "--otlp-endpoint",
        "OpenTelemetry collector that receives traces, by OTLP over gRPC; without it, tracing is off.",
        metavar="URL",
        envvar=["VITRINE_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"],
    ),
    option(
        "--trace-ratio",
        "Share of the calls to trace, 0 to 1, where the caller hasn't decided.",
        type=Number(RATIOS),
        default=1.0,
    ),
)
def tracing(otlp_endpoint: str | None, trace_ratio: float) -> TracingConfig | None:
    """The traces; None without --otlp-endpoint."""
    return TracingConfig(otlp_endpoint, trace_ratio) if otlp_endpoint else None


def _warn_without_capture() -> None:
    """Says which settings of a capture were given, and do nothing because there is no folder for it."""
    context = click.get_current_context()
    given = [name for name in CAPTURE_SETTINGS if context.get_parameter_source(name) not in (None, NOT_GIVEN)]
    if given:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        click.echo(
            f"vitrine-server: nothing is captured, and {flags} does nothing: name a folder with --capture", err=True
        )


@option_group(
    option(
        "--capture",
        "Directory that keeps a sample of the classified images, with their answers, as Parquet. Needs the extra "
        "`capture`.",
        type=click.Path(path_type=Path, file_okay=False),
        show_default="none: nothing is kept",
    ),
    option(
        "--capture-ratio",
        "Share of the requests to keep, 0 to 1.",
        type=Number(CAPTURE_RATIOS),
        default=CAPTURE.ratio,
    ),
    option(
        "--capture-layers",
        "Layers whose activations are kept, too, such as relu_1,relu_2; or all.",
        metavar="NAMES",
        show_default="none",
    ),
    option(
        "--capture-max-mb",
        "MiB that the files in --capture may take; the oldest are deleted.",
        type=Whole(CAPTURE_BYTES, MEBIBYTE),
        default=CAPTURE.max_bytes // MEBIBYTE,
    ),
    option(
        "--capture-part-seconds",
        "Seconds after which a file is complete and can be read; a server that is killed loses what isn't.",
        type=Number(PART_SECONDS),
        default=CAPTURE.part_seconds,
    ),
)
def capture(
    capture: Path | None,
    capture_ratio: float,
    capture_layers: str | None,
    capture_max_mb: int,
    capture_part_seconds: float,
) -> CaptureConfig | None:
    """The capture of images; None without --capture."""
    if capture is None:
        _warn_without_capture()
        return None
    layers = tuple(name.strip() for name in (capture_layers or "").split(",") if name.strip())
    return CaptureConfig(capture, capture_ratio, layers, capture_max_mb * MEBIBYTE, capture_part_seconds)


@option_group(
    option(
        "--log-format",
        "Write log lines as sentences or as JSON objects.",
        type=click.Choice([form.value for form in LogFormat]),
        default=LOGS.format.value,
    ),
    option(
        "--log-level",
        "Least serious level that is logged, on standard error.",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default=LOGS.level,
    ),
)
def logs(log_format: str, log_level: str) -> LogConfig:
    """The log."""
    return LogConfig(log_level, LogFormat(log_format))


MODEL = click.argument("model", type=click.Path(path_type=Path), required=False, envvar="VITRINE_MODEL")

FRONTEND = option(
    "--frontend",
    "Program that speaks HTTP/2 on the port: grpc, or envoy, which is faster and speaks Connect and gRPC-Web too. "
    "Envoy needs Linux and the extra `envoy`.",
    type=click.Choice([kind.value for kind in FrontendKind]),
    default=FrontendKind.GRPC.value,
)

PRINT_ENVOY_CONFIG = click.option(
    "--print-envoy-config",
    help="Print the configuration that Envoy gets, and exit.",
    is_flag=True,
)

HTTP_PORT = option(
    "--http-port",
    "Port of Connect and gRPC-Web, over HTTP/1.1; 0 takes a free one, which the log names. Needs the extra `http`. "
    "Envoy needs none: it speaks them on --port, and on this one too.",
    type=Port(USUAL_HTTP_PORT),
    show_default="none: only gRPC is spoken",
)

DEVICE = option(
    "--device",
    "Device that runs the models; auto takes CUDA where it works.",
    type=click.Choice([device.value for device in Device]),
    default=Device.AUTO.value,
)

THREADS = option(
    "--threads",
    "Image files of one caller that each worker prepares at once. Model runs use half as many threads.",
    type=Whole(THREAD_COUNTS),
    show_default="usable CPUs divided by the workers",
)

CACHE_MB = option(
    "--cache-mb",
    "Memory of each worker for answers to images that come again, in MiB; 0 keeps none.",
    type=Whole(CACHE_BYTES, MEBIBYTE),
    default=0,
)

ACCESS_LOG = option(
    "--access-log",
    "Log each finished call at level info: method, status, caller, model, images, milliseconds and request id.",
    is_flag=True,
)

TOKENS = security_file(
    "--tokens", "File of callers, with NAME SHA256 PERMISSIONS on each line; without it, anyone may call."
)
