"""How a client reaches its server: the target, TLS, the token, deadlines, retries, and the gRPC channel made of them.

It knows gRPC's channels and nothing of what is called over them.
"""

import ipaddress
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, TypedDict

import grpc

from vitrine.client.errors import UsageError

DEFAULT_TARGET = "localhost:50051"
"""Where `vitrine-server` listens unless it is told otherwise."""

DEFAULT_TIMEOUT = 30.0
"""The deadline of a call in seconds, unless the caller gives another."""

DEFAULT_RETRIES = 4
"""How often a call that found nobody is sent again: after about 0.1, 0.2, 0.4 and 0.8 s. gRPC allows no more."""

DEFAULT_MAX_MESSAGE_BYTES = 256 << 20
"""The largest answer that is accepted. gRPC's own 4 MiB is less than the activations of a few hundred images."""

RETRIED_SERVICES = ("vitrine.v1.ClassifierService", "grpc.health.v1.Health")
"""The services whose calls are sent again. All of them only read, so sending one twice does no harm."""

RETRY_BUFFER_BYTES = 64 << 20
"""Up to this size a request is kept for sending it again. gRPC's own 256 KiB is less than a full batch of images."""

KEEPALIVE_SECONDS = 10
"""How long a call may hear nothing before the connection is probed; without a call, it isn't.

gRPC probes at 10 and 20 s, then once a minute. A server with gRPC's default policy (a probe every 5 minutes) takes the
fourth, at 140 s, for abuse and hangs up: only calls far beyond the default deadline see that, and a server that sets
`grpc.http2.min_recv_ping_interval_without_data_ms` to 10 s or less doesn't do it.
"""

KEEPALIVE_TIMEOUT_SECONDS = 5
"""How long the answer to a probe may take: a dead connection fails after 15 s, before the default deadline."""

Pem: TypeAlias = bytes | str | os.PathLike[str]
"""Certificates or a key: the PEM text as bytes, or the path of a file that holds it."""


@dataclass(frozen=True, slots=True)
class TLS:
    """How the connection is encrypted. `TLS()` trusts the public authorities that gRPC ships."""

    ca: Pem | None = None
    """The certificates of the authorities that may vouch for the server; None: gRPC's own."""
    cert: Pem | None = None
    """The client's certificate chain, for a server that asks for one."""
    key: Pem | None = field(default=None, repr=False)
    """The private key of `cert`."""

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise UsageError("a client certificate needs both cert and key")


@dataclass(frozen=True, slots=True)
class Connection:
    """Everything about a connection that its user can choose.

    Raises:
        UsageError: it can't work, or would send the token where others can read it.
    """

    target: str = DEFAULT_TARGET
    """HOST:PORT, or any other name that gRPC resolves (`dns:///…`, `unix:…`)."""
    timeout: float = DEFAULT_TIMEOUT
    """The deadline of each call in seconds; `math.inf`: none."""
    retries: int = DEFAULT_RETRIES
    """How often a call that found nobody is sent again, 0 to 4."""
    tls: TLS | None = None
    """How the connection is encrypted; None: it isn't."""
    token: str | None = field(default=None, repr=False)
    """The bearer token that every call carries; None: none."""
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
    """The largest answer that is accepted, in bytes."""

    def __post_init__(self) -> None:
        check_timeout(self.timeout)
        if not 0 <= self.retries <= DEFAULT_RETRIES:
            raise UsageError(f"retries is 0 to {DEFAULT_RETRIES}, not {self.retries}")
        if not 0 < self.max_message_bytes < 1 << 31:
            raise UsageError(f"max_message_bytes is 1 to {(1 << 31) - 1:,}, not {self.max_message_bytes:,}")
        if self.token is not None:
            self._check_token(self.token)

    def _check_token(self, token: str) -> None:
        if not token or not all("!" <= character <= "~" for character in token):
            raise UsageError("the token is empty, or has characters that no HTTP header can carry: a line's end?")
        if self.tls is None and not is_loopback(self.target):
            raise UsageError(
                f"the token would travel to {self.target} unencrypted: connect with tls=TLS(), or leave the token out"
            )


def check_timeout(timeout: float) -> None:
    """Raises `UsageError` unless it is above 0."""
    if not timeout > 0:  # NaN isn't either
        raise UsageError(f"a timeout is a number of seconds above 0, not {timeout}")


def is_loopback(target: str) -> bool:
    """Whether all that is sent to a target surely stays on this machine."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    for scheme in ("dns:///", "dns:", "ipv4:", "ipv6:"):
        target = target.removeprefix(scheme)
    return all(_is_loopback_host(_host_of(address)) for address in target.split(","))


def _host_of(address: str) -> str:
    if address.startswith("["):  # [::1]:50051
        host, _, rest = address[1:].partition("]")
        return host if rest[:1] in ("", ":") else address  # to gRPC, [::1]example.org:1 is some other name
    return address.rpartition(":")[0] if address.count(":") == 1 else address


def _is_loopback_host(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
"""What travels beside a request: names and values."""


class CallOptions(TypedDict):
    """What gRPC takes with every call, beside the request."""

    timeout: float | None
    """The deadline in seconds; None: none."""
    metadata: Metadata
    """What travels beside the request."""


def call_options(connection: Connection, timeout: float, trace: Metadata = ()) -> CallOptions:
    """A call's deadline in gRPC's terms, what carries its trace, and the token.

    A `Connection` lets the token travel only where nobody reads it.
    """
    token = () if connection.token is None else (("authorization", f"Bearer {connection.token}"),)
    return CallOptions(timeout=None if math.isinf(timeout) else timeout, metadata=(*token, *trace))


def channel_credentials(tls: TLS | None) -> grpc.ChannelCredentials | None:
    """The certificates of an encrypted connection; None when it isn't encrypted.

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
    """A connection's choices in gRPC's own terms."""
    return [
        ("grpc.service_config", json.dumps(_service_config(connection.retries))),
        ("grpc.enable_retries", int(connection.retries > 0)),
        ("grpc.per_rpc_retry_buffer_size", RETRY_BUFFER_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),  # gRPC's own 1 s would be longer than all retries
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.use_local_subchannel_pool", 1),  # else all clients of a process would share one connection, and worker
        ("grpc.max_receive_message_length", connection.max_message_bytes),
        ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_SECONDS * 1000),
        ("grpc.enable_http_proxy", int(not is_loopback(connection.target))),  # http_proxy is for the way out
    ]


def _service_config(retries: int) -> dict[str, object]:
    """See the gRPC proposal A6, client retries."""
    if retries == 0:
        return {}
    policy = {
        "maxAttempts": retries + 1,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        # A server that stops ends the calls that it hasn't taken up yet with CANCELLED (grpc/grpc#41785). A call that
        # its own caller cancels is never sent again.
        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
    }
    names = [{"service": service} for service in RETRIED_SERVICES]
    return {"methodConfig": [{"name": names, "retryPolicy": policy}]}
