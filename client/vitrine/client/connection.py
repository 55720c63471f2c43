"""How a client reaches its server: the target, TLS, the token, deadlines, retries, and the gRPC channel made of them.

It knows gRPC's channels and nothing of what is called over them.
"""

import ipaddress
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

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

KEEPALIVE_SECONDS = 20
"""How long a call may hear nothing before the connection is probed, so that a dead one fails before the deadline."""

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


def grpc_timeout(timeout: float) -> float | None:
    """A timeout as gRPC takes it: None for no deadline."""
    return None if math.isinf(timeout) else timeout


def is_loopback(target: str) -> bool:
    """Whether all that is sent to a target surely stays on this machine."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    for scheme in ("dns:///", "dns:", "ipv4:", "ipv6:"):
        target = target.removeprefix(scheme)
    return all(_is_loopback_host(_host_of(address)) for address in target.split(","))


def _host_of(address: str) -> str:
    if address.startswith("["):  # [::1]:50051
        return address[1:].partition("]")[0]
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


def plaintext_metadata(connection: Connection) -> tuple[tuple[str, str], ...]:
    """What each call carries on an unencrypted connection; over TLS the token is in the channel's credentials."""
    if connection.token is None or connection.tls is not None:
        return ()
    return (("authorization", f"Bearer {connection.token}"),)


def channel_credentials(connection: Connection) -> grpc.ChannelCredentials | None:
    """The certificates and the token of an encrypted connection; None when it isn't encrypted.

    Raises:
        UsageError: a file of certificates can't be read.
    """
    tls = connection.tls
    if tls is None:
        return None
    channel = grpc.ssl_channel_credentials(_read_pem(tls.ca), _read_pem(tls.key), _read_pem(tls.cert))
    if connection.token is None:
        return channel
    return grpc.composite_channel_credentials(channel, grpc.access_token_call_credentials(connection.token))


def _read_pem(pem: Pem | None) -> bytes | None:
    if pem is None or isinstance(pem, bytes):
        return pem
    try:
        return Path(pem).read_bytes()
    except OSError as error:
        raise UsageError(f"can't read the TLS file {pem}: {error.strerror}") from error


def channel_options(connection: Connection) -> list[tuple[str, str | int]]:
    """A connection's choices in gRPC's own terms."""
    return [
        ("grpc.service_config", json.dumps(_service_config(connection.retries))),
        ("grpc.enable_retries", int(connection.retries > 0)),
        ("grpc.per_rpc_retry_buffer_size", RETRY_BUFFER_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),  # gRPC's own 1 s would be longer than all retries
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.max_receive_message_length", connection.max_message_bytes),
        ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_SECONDS * 500),
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
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    names = [{"service": service} for service in RETRIED_SERVICES]
    return {"methodConfig": [{"name": names, "retryPolicy": policy}]}
