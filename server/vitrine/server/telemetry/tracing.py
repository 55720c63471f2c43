"""Sets up tracing where it is asked for: `spans` is loaded then, not before. Its packages are the extra `tracing`."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vitrine.model.distribution import install_command
from vitrine.server.errors import StartupError
from vitrine.server.telemetry.tracing_config import TracingConfig

if TYPE_CHECKING:
    from vitrine.server.telemetry.spans import Tracing


def open_tracing(config: TracingConfig) -> "Tracing":
    """Sets up tracing for this process.

    Raises:
        StartupError: the packages aren't there, the endpoint can't be used, or an OTEL_ variable can't.
    """
    if urlsplit(config.endpoint).scheme not in ("http", "https") or not config.collector:
        raise StartupError(
            "the OTLP endpoint is a URL such as http://localhost:4317: set --otlp-endpoint (VITRINE_OTLP_ENDPOINT, "
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT) to one, or leave it out"
        )
    if "@" in config.collector:  # not quoted: what stands before it is secret, and OTLP over gRPC has no use for it
        raise StartupError(
            "the OTLP endpoint has a user or a password in it, which isn't sent: leave it out of the URL, and set "
            "OTEL_EXPORTER_OTLP_HEADERS, as in authorization=Basic%20…, where the collector asks for it"
        )
    try:
        from vitrine.server.telemetry.spans import Tracing

        return Tracing(config)
    except ImportError as error:
        raise StartupError(
            f"there is an OTLP endpoint to send traces to, and OpenTelemetry is missing ({error}): "
            f"install the extra, `{install_command('tracing')}`, or leave --otlp-endpoint out"
        ) from error
    except Exception as error:  # the SDK reads a dozen variables, and says in as many ways what is wrong with them
        raise StartupError(f"tracing can't be set up, check the OTEL_ variables: {error}") from error
