"""The connection to a server: target, TLS, token, deadlines, and the gRPC channel made from them.

It knows gRPC's channels, and nothing of the calls over them.
"""

import json
import os
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import TypeAlias, TypedDict

import grpc

from vitrine.client.errors import UsageError
from vitrine.client.target import DEFAULT_TARGET, check_target, is_loopback, may_name_several

DEFAULT_TIMEOUT = 30.0
"""Default deadline of a call in seconds."""

LONGEST_TIMEOUT = 1e9
"""Largest deadline in seconds, 31 years. Beyond it is none: gRPC would overflow, and fail the call at once."""

DEFAULT_RETRIES = 4
"""Retries of a call by default, after about 0.1, 0.2, 0.4 and 0.8 s: see `resending`."""

DEFAULT_MAX_MESSAGE_BYTES = 256 << 20
"""Largest accepted answer. gRPC's default, 4 MiB, is less than the activations of a few hundred images."""

RETRY_BUFFER_BYTES = 64 << 20
"""Largest request that gRPC keeps for its own retries. Its default, 256 KiB, is less than a full batch of images."""

RESOLUTION_MS = 2_000
"""Least milliseconds between two questions to DNS. gRPC's default, 30 s, is longer than the start of a new server."""

KEEPALIVE_SECONDS = 10
"""Seconds of silence during a call before gRPC probes the connection. Without a call it doesn't probe.

gRPC probes at 10 and 20 s, then once a minute. A server with gRPC's default policy (a probe every 5 minutes) closes the
connection at the fourth probe, at 140 s. Only calls far beyond the default deadline see that. A server that sets
`grpc.http2.min_ping_interval_without_data_ms` to 10 s or less accepts the probes.
"""

KEEPALIVE_TIMEOUT_SECONDS = 5
"""Seconds to wait for the answer to a probe: a dead connection fails after 15 s, before the default deadline."""

Pem: TypeAlias = bytes | str | os.PathLike[str]
"""Certificates or a key: the PEM text as bytes, or the path of its file."""


@dataclass(frozen=True, slots=True)
class TLS:
    """The encryption of a connection. `TLS()` trusts the public authorities that gRPC ships."""

    ca: Pem | None = None
    """Certificates of the authorities to trust; None: gRPC's own."""
    cert: Pem | None = None
    """Certificate chain of the client, for servers that ask for one."""
    key: Pem | None = field(default=None, repr=False)
    """Private key of `cert`."""
    server_name: str | None = None
    """The name that the server's certificate must have; None: the host of the target."""

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise UsageError("a client certificate needs both cert and key")
        for name in ("ca", "cert", "key"):
            if not isinstance(pem := getattr(self, name), (bytes, str, os.PathLike, type(None))):
                raise UsageError(f"the TLS {name} is the path of a PEM file, or its bytes, not {type(pem).__name__}")
        if not (self.server_name is None or (isinstance(self.server_name, str) and self.server_name)):
            raise UsageError(f"the TLS server_name is a host's name, not {self.server_name!r}")


@dataclass(frozen=True, slots=True)
class Connection:
    """The settings of a connection.

    Raises:
        UsageError: they can't work, or would send the token unencrypted to another machine.
    """

    target: str = DEFAULT_TARGET
    """HOST:PORT, or any other name that gRPC resolves (`dns:///…`, `ipv4:…`, `unix:…`); see `may_name_several`."""
    timeout: float = DEFAULT_TIMEOUT
    """Deadline of each call in seconds; `math.inf`: no deadline."""
    retries: int = DEFAULT_RETRIES
    """Most attempts of a call after the first, 0 to 4."""
    tls: TLS | None = None
    """Encryption; None: unencrypted."""
    token: str | None = field(default=None, repr=False)
    """Bearer token of every call; None: no token."""
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
    """Largest accepted answer, in bytes."""

    def __post_init__(self) -> None:
        check_target(self.target)
        check_timeout(self.timeout)
        check_whole("retries", self.retries, 0, DEFAULT_RETRIES)
        check_whole("max_message_bytes", self.max_message_bytes, 1, (1 << 31) - 1)
        if not isinstance(self.tls, (TLS, type(None))):
            raise UsageError(f"tls is True, or TLS(…) with the files to use, not {self.tls!r:.80}")
        if self.token is not None:
            self._check_token(self.token)

    def _check_token(self, token: str) -> None:
        if not isinstance(token, str):
            raise UsageError(f"the token is text, not {type(token).__name__}")
        if not token or not all("!" <= character <= "~" for character in token):
            raise UsageError("the token is empty, or has characters that no HTTP header can carry: a line's end?")
        if self.tls is None and not is_loopback(self.target):
            raise UsageError(
                f"the token would travel to {self.target} unencrypted: connect with tls=True (--tls), or leave it out"
            )


def check_timeout(timeout: float) -> None:
    """Raises `UsageError` unless it is above 0."""
    if not isinstance(timeout, Real) or not timeout > 0:  # NaN isn't either
        raise UsageError(f"a timeout is a number of seconds above 0, or math.inf for none, not {timeout!r}")


def check_whole(name: str, value: int, least: int, most: int) -> None:
    """Raises `UsageError` unless it is a whole number in its range."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= value <= most:
        shown = f"{value:,}" if type(value) is int else repr(value)
        raise UsageError(f"{name} is {least:,} to {most:,}, not {shown}")


def open_channel(connection: Connection, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
    """The channel of a `Client`; it connects at the first call, and threads may share it."""
    options = channel_options(connection)
    if credentials is None:
        return grpc.insecure_channel(connection.target, options)
    return grpc.secure_channel(connection.target, credentials, options)


def open_async_channel(connection: Connection, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    """The channel of an `AsyncClient`, for the event loop that runs now."""
    options = channel_options(connection)
    if credentials is None:
        return grpc.aio.insecure_channel(connection.target, options)
    return grpc.aio.secure_channel(connection.target, credentials, options)


Metadata: TypeAlias = tuple[tuple[str, str], ...]
"""Metadata of a call: names and values."""


class CallOptions(TypedDict):
    """Arguments of every gRPC call beside the request."""

    timeout: float | None
    """Deadline in seconds; None: no deadline."""
    metadata: Metadata
    """Metadata of the call."""


def call_options(connection: Connection, timeout: float, trace: Metadata = ()) -> CallOptions:
    """The deadline in gRPC's terms, the metadata of the trace, and the token, which `Connection` has checked."""
    token = () if connection.token is None else (("authorization", f"Bearer {connection.token}"),)
    return CallOptions(timeout=None if timeout > LONGEST_TIMEOUT else timeout, metadata=(*token, *trace))


def channel_credentials(tls: TLS | None) -> grpc.ChannelCredentials | None:
    """The credentials of an encrypted connection; None for an unencrypted one.

    Raises:
        UsageError: a file can't be read, or holds no PEM.
    """
    if tls is None:
        return None
    return grpc.ssl_channel_credentials(_read_pem(tls.ca, "ca"), _read_pem(tls.key, "key"), _read_pem(tls.cert, "cert"))


def _read_pem(pem: Pem | None, field: str) -> bytes | None:
    if pem is None:
        return None
    content = pem if isinstance(pem, bytes) else _read_file(pem)
    if b"-----BEGIN" not in content:  # gRPC would only say so at the first call, and not clearly
        source = "" if isinstance(pem, bytes) else f" from {os.fspath(pem)}"
        raise UsageError(f"the TLS {field}{source} isn't PEM: no line has -----BEGIN")
    return content


def _read_file(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"can't read the TLS file {path}: {error.strerror}") from error


def channel_options(connection: Connection) -> list[tuple[str, str | int]]:
    """The settings of a connection in gRPC's terms."""
    return [
        ("grpc.service_config", json.dumps(_service_config(connection))),
        ("grpc.dns_min_time_between_resolutions_ms", RESOLUTION_MS),
        ("grpc.enable_retries", int(connection.retries > 0)),  # gRPC's own, of calls that no server has taken up
        ("grpc.per_rpc_retry_buffer_size", RETRY_BUFFER_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),  # gRPC's own 1 s would be longer than all retries
        ("grpc.max_reconnect_backoff_ms", _longest_pause(connection.target)),
        ("grpc.use_local_subchannel_pool", 1),  # else all clients of a process would share one connection, and worker
        ("grpc.max_receive_message_length", connection.max_message_bytes),
        ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_SECONDS * 1000),
        ("grpc.enable_http_proxy", int(not is_loopback(connection.target))),  # http_proxy is for the way out
        *_expected_name(connection.tls),
    ]


def _longest_pause(target: str) -> int:
    """Most milliseconds between two tries to connect.

    Of several servers, one that comes back must be found while a call is sent again, 1.5 s: the others may leave then.
    """
    return 500 if may_name_several(target) else 5_000


def _expected_name(tls: TLS | None) -> list[tuple[str, str]]:
    return [("grpc.ssl_target_name_override", tls.server_name)] if tls and tls.server_name else []


def _service_config(connection: Connection) -> dict[str, object]:
    """See gRPC's document on service configs. It has no policy for retries: see `resending`."""
    return _balancing() if may_name_several(connection.target) else {}


def _balancing() -> dict[str, object]:
    """Calls take turns over all addresses whose server says that it serves; see the gRPC proposal A17."""
    return {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
