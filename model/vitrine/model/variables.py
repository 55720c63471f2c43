"""The names of all commands' environment variables, to find those that are mistyped. It reads no value."""

from collections.abc import Iterable
from difflib import get_close_matches

PREFIX = "VITRINE_"
"""The beginning of every variable."""

SIMILAR = 0.8
"""Likeness of two names, 0 to 1, from which on one is taken for the other, mistyped."""

CLIENT = """
    TARGET TIMEOUT TOKEN CLIENT_MAX_IMAGE_MEGAPIXELS CLIENT_TLS CLIENT_TLS_CA CLIENT_TLS_CERT CLIENT_TLS_KEY
    CLIENT_TLS_SERVER_NAME
"""
SERVER = """
    ACCESS_LOG ACTIVATION_HEALTH CACHE_MB CALLER_RATE CAPTURE CAPTURE_LAYERS CAPTURE_MAX_MB CAPTURE_PART_SECONDS
    CAPTURE_RATIO DEFAULT_MODEL DEVICE DRAIN_SECONDS FRONTEND HANG_SECONDS HOST HTTP_PORT INSECURE LOG_FORMAT LOG_LEVEL
    MAX_BATCH_ROWS MAX_CONNECTIONS MAX_CONNECTION_AGE_SECONDS MAX_IMAGES MAX_IMAGE_MEGAPIXELS MAX_MESSAGE_MB
    MAX_PENDING_IMAGES MAX_PENDING_MB MAX_QUEUE_DELAY_US METRICS_HOST METRICS_PORT MODEL MODEL_REPOSITORY OTLP_ENDPOINT
    PAGE PORT PRINT_ENVOY_CONFIG PROPAGATION_SECONDS REFLECTION RELOAD_SECONDS THREADS TLS_CERT TLS_CLIENT_CA TLS_KEY
    TOKENS TRACE_RATIO TRANSFER_SECONDS VERSION VERSIONS WORKERS
"""
TRAINING = "CACHE_DIR DATA_DIR"
"""The variables of each command, without `PREFIX`; a test compares them with the commands' options."""

NAMES = sorted(f"{CLIENT} {SERVER} {TRAINING}".split())
"""All of them."""

VARIABLES = frozenset(PREFIX + name for name in NAMES)
"""Every variable that a command reads."""


def find_mistyped(names: Iterable[str]) -> list[str]:
    """A sentence for each name that no command reads and that resembles one that a command does.

    Others aren't named: orchestrators set `VITRINE_SERVICE_HOST` and the like.
    """
    unknown = sorted(name for name in names if name.startswith(PREFIX) and name not in VARIABLES)
    likely = [(name, get_close_matches(name.removeprefix(PREFIX), NAMES, 1, SIMILAR)) for name in unknown]
    return [f"no command reads {name}: {PREFIX}{found[0]} is meant, perhaps" for name, found in likely if found]
