"""The configuration of Envoy as the application's host: one listener, whose requests go to Python inside Envoy.

It may listen on two ports, which speak the same.

The module `pyvoy` loads the application and calls it. All requests of a worker are answered on one event loop.
"""

import errno
import importlib.util
import json
import socket
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrine.server.frontends.grpc.config import CONNECTION_CALLS, GrpcConfig
from vitrine.server.frontends.grpc.connection_limit import momentary
from vitrine.server.inference.connections import ConnectionConfig
from vitrine.server.security.certificates import Certificates
from vitrine.server.security.listening import FLAGS, cannot_listen

STATS = "vitrine"
"""The prefix of Envoy's own figures about the listener."""

HEAD_SECONDS = 20
"""Seconds that a TLS handshake, and the headers of a request, may take to arrive."""

STREAM_WINDOW, CONNECTION_WINDOW = 256 << 10, 1 << 20
"""Bytes of requests that Envoy takes before the application has asked for them: of a stream, and of a connection.

By default 16 and 24 MiB: streams whose messages wait would hold so much, where nobody counts it.
"""

IDLE_SECONDS = 600
"""Seconds without a call before a connection is closed."""

HEAD_KILOBYTES = 64
"""The largest headers of a request, in KiB."""

EXTENSIONS = "type.googleapis.com/envoy.extensions"

PLAIN_PATH = "[!-$&-~]*"
"""Printable characters of ASCII, but for that with which others are escaped."""

PLAIN_PATHS: Mapping[str, Any] = {
    "@type": f"{EXTENSIONS}.filters.http.rbac.v3.RBAC",
    "rules": {
        "action": "DENY",
        "policies": {
            "not plain": {
                "permissions": [
                    {"not_rule": {"header": {"name": ":path", "string_match": {"safe_regex": {"regex": PLAIN_PATH}}}}}
                ],
                "principals": [{"any": True}],
            }
        },
    },
}
"""Refuses all other paths: no method has one, and pyvoy fails at a path that is no UTF-8, escaped or as it is."""


@dataclass(frozen=True, slots=True)
class EnvoyFiles:
    """The files that a worker shares with its Envoy, in a folder that nobody else may look into."""

    folder: Path
    """The folder."""
    worker: int
    """A number that no other worker of the server has."""

    @property
    def admin(self) -> Path:
        """The socket of Envoy's admin interface."""
        return self.folder / f"{self.worker}.sock"

    @property
    def certificate(self) -> Path:
        """The server's certificate and key, as Envoy reads them."""
        return self.folder / f"{self.worker}.server.json"

    @property
    def authorities(self) -> Path:
        """The authorities that vouch for clients."""
        return self.folder / f"{self.worker}.clients.json"

    def write(self, certificates: Certificates) -> None:
        """Writes the certificates. Envoy reads a file again when another is moved onto it."""
        pair = {"certificate_chain": _inline(certificates.chain), "private_key": _inline(certificates.key)}
        _replace(self.certificate, _secret("server", tls_certificate=pair))
        if certificates.client_ca is not None:
            _replace(
                self.authorities, _secret("clients", validation_context={"trusted_ca": _inline(certificates.client_ca)})
            )

    def remove(self) -> None:
        """Removes all of them."""
        for path in (self.admin, self.certificate, self.authorities):
            path.unlink(missing_ok=True)


def envoy_config(
    config: GrpcConfig,
    application: str,
    files: EnvoyFiles,
    connections: ConnectionConfig,
    http_port: int | None = None,
) -> Mapping[str, Any]:
    """Makes Envoy's configuration, to be written as JSON.

    Args:
        config: the address and the certificates.
        application: the ASGI application, as `MODULE:NAME`.
        files: the files of the worker.
        connections: the limits of connections.
        http_port: a second port to listen on; None: there is none.

    Raises:
        StartupError: the host can't be found.
    """
    first, *further = [
        address for port in (config.port, http_port) if port is not None for address in _addresses(config.host, port)
    ]
    listener = {
        "name": "listener",
        "address": first,
        "additional_addresses": [{"address": address} for address in further],
        "enable_reuse_port": True,
        "filter_chains": [
            {
                "filters": [{"name": "http", "typed_config": _http(application, connections)}],
                "transport_socket_connect_timeout": f"{HEAD_SECONDS}s",
                **({"transport_socket": _tls(config, files)} if config.tls else {}),
            }
        ],
    }
    return {
        "node": {"id": "vitrine", "cluster": "vitrine"},
        "admin": {"address": {"pipe": {"path": str(files.admin), "mode": 0o600}}},
        "static_resources": {"listeners": [listener]},
        "overload_manager": {"resource_monitors": [_limit_of(momentary(connections))]},
    }


def _limit_of(connections: int) -> Mapping[str, Any]:
    """Refuses connections beyond a number, which is for the moment until idle ones are closed."""
    return {
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": {
            "@type": f"{EXTENSIONS}.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
            "max_active_downstream_connections": connections,
        },
    }


def _http(application: str, connections: ConnectionConfig) -> Mapping[str, Any]:
    """Envoy's HTTP, for both versions that it can tell apart on one port."""
    age = connections.max_age_seconds
    return {
        "@type": f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": STATS,
        "codec_type": "AUTO",
        "use_remote_address": True,  # else a caller's x-forwarded-for would be taken for its address
        "skip_xff_append": True,
        "generate_request_id": False,
        "preserve_external_request_id": True,
        "server_header_transformation": "PASS_THROUGH",
        "request_headers_timeout": f"{HEAD_SECONDS}s",
        "stream_idle_timeout": "0s",  # a stream may idle for as long as its caller likes
        "max_request_headers_kb": HEAD_KILOBYTES,
        "common_http_protocol_options": {
            "idle_timeout": f"{IDLE_SECONDS}s",
            **({"max_connection_duration": f"{age:.3f}s"} if age else {}),
        },
        "http2_protocol_options": {
            "max_concurrent_streams": CONNECTION_CALLS,
            "initial_stream_window_size": STREAM_WINDOW,
            "initial_connection_window_size": CONNECTION_WINDOW,
        },
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"]}]},
        "http_filters": [
            {"name": "paths", "typed_config": PLAIN_PATHS},
            {"name": "pyvoy", "typed_config": _python(application)},
        ],
    }


def _python(application: str) -> Mapping[str, Any]:
    module = importlib.util.find_spec("pyvoy._pyvoy")
    return {
        "@type": f"{EXTENSIONS}.filters.http.dynamic_modules.v3.DynamicModuleFilter",
        "dynamic_module_config": {"module": {"local": {"filename": module and module.origin}}},
        "filter_name": "pyvoy",
        "terminal_filter": True,
        "filter_config": {
            "@type": "type.googleapis.com/google.protobuf.StringValue",
            "value": f'{{"app": "{application}", "interface": "asgi", "lifespan": true}}',
        },
    }


def _tls(config: GrpcConfig, files: EnvoyFiles) -> Mapping[str, Any]:
    """TLS with certificates from files that Envoy watches."""
    mutual = config.tls is not None and config.tls.client_ca is not None
    context: dict[str, Any] = {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificate_sds_secret_configs": [_watched("server", files.certificate)],
    }
    if mutual:
        context["validation_context_sds_secret_config"] = _watched("clients", files.authorities)
    return {
        "name": "tls",
        "typed_config": {
            "@type": f"{EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": context,
            "require_client_certificate": mutual,
        },
    }


def _watched(name: str, path: Path) -> Mapping[str, Any]:
    source = {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}
    return {"name": name, "sds_config": source}


def _secret(name: str, **content: Any) -> Mapping[str, Any]:
    return {"resources": [{"@type": f"{EXTENSIONS}.transport_sockets.tls.v3.Secret", "name": name, **content}]}


def _inline(pem: bytes) -> Mapping[str, str]:
    return {"inline_bytes": b64encode(pem).decode()}


def _replace(path: Path, content: Mapping[str, Any]) -> None:
    beside = path.with_suffix(".new")
    beside.touch(mode=0o600)
    beside.write_text(json.dumps(content))
    beside.replace(path)


def _addresses(host: str, port: int) -> list[Mapping[str, Any]]:
    """All addresses of the host: Envoy listens on numbers, and ends where one of them isn't this machine's."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise cannot_listen(host, port, FLAGS, error) from error
    return [
        {"socket_address": {"address": str(name), "port_value": port, "ipv4_compat": name == "::"}}
        for family, _, _, _, (name, *_) in found
        if len(found) == 1 or _is_here(family, str(name))
    ]


def _is_here(family: int, address: str) -> bool:
    """Tells whether an address is this machine's. In a container, localhost may have `::1`, and the machine no IPv6."""
    with socket.socket(family) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True
