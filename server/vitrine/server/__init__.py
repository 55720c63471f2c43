"""Serves models over the network. Each folder is a room, which may import those below it.

    cli            options → configs
    process/       supervisor, worker, lifecycle, signals, port
    opening        the service with all that it needs, as a context
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
