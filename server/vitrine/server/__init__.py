"""Serves models over the network. Each folder is a room, which may import those below it.

    cli            options → configs
    in_process     a server and its client in one process: `vitrine.server.embedded`
    process/       supervisor, worker, lifecycle, signals, port
    opening        the service with all that it needs, as a context
    service_config its settings
    frontends/     bytes and metadata in and out, one transport per folder
    protocols/     messages ↔ plain data
    telemetry/     logs, metrics, traces, activation health
    inference/     the service: calls, batching, admission, rate limit, statistics
    preparation/   image files of callers, in processes that can be killed
    engine/        artifact check and ONNX Runtime
    security/      access, tokens, certificates, watched files
    models/        what is served: snapshot, repository, version policy

`tests/contract/test_rooms.py` holds the table of arrows. docs/architecture.md describes the way of one request.
"""

from typing import TYPE_CHECKING, Any

from vitrine.model.distribution import require_extra

if TYPE_CHECKING:
    from vitrine.server.in_process import embedded

__all__ = ["embedded"]


def __getattr__(name: str) -> Any:
    """`embedded`, loaded when it is asked for: the command's supervisor does without gRPC and ONNX Runtime."""
    if name == "embedded":
        require_extra("vitrine.server.embedded", "server")
        from vitrine.server.in_process import embedded

        return embedded
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
